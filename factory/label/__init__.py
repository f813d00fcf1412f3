"""A person turns clusters into named classes: a local page over a merge tree, and the fit's report."""

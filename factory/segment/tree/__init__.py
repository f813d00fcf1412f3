"""KLiSH's merge tree: its cuts, its coarser readings, and the labels file that names its nodes."""

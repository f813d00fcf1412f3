"""The label page, on which a person names the clusters of a merge tree, and the report of a fit."""

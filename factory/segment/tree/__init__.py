"""KLiSH's merge tree: cuts, coarser class tables, and the labels file that names its nodes."""

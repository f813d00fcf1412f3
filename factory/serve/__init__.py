"""The manifest service: what a dataset holds and covers, over HTTP. A view, never the truth."""

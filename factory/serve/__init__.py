"""The manifest service: progress, coverage and samples of a dataset over HTTP. A cache, not a source."""

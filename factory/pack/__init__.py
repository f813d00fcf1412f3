"""Samples to bytes that repeat: image files, facts, tar shards, sidecar tables."""

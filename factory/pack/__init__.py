"""Encode samples reproducibly: image files, JSON facts, tar shards, sidecar tables."""

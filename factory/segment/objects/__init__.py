"""Instances: connected components, or the foreground inside detected boxes."""

"""Soft masks by an alpha network on feature maps."""

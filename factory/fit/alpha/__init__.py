"""Fit an alpha network: Labels4Free."""

"""Shared by both web servers (label page, manifest service): access control and socket handling."""

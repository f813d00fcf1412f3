"""Painted pictures: the folder that `factory sample` writes, and masks that come back from any tool."""

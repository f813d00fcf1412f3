"""Maintenance of existing datasets: verify, repair, diagnose, and regenerate samples."""

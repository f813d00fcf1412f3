"""The facts about what was made, and where each file of a dataset lies. No store, no torch."""

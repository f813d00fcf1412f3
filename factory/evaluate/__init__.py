"""Score a dataset against what is known of its pictures. `masks.py` tells the story."""

"""What a dataset is for: a segmentation network that is trained on it, and a file of that network."""

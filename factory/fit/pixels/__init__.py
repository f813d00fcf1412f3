"""Feature vectors sampled from generated images, in parts that can lie on several workers."""

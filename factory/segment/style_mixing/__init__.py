"""Style mixing: unsupervised segmentation from colour changes under other styles."""

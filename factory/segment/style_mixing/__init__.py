"""Style mixing: segmentation from how colours change under other styles, without a network."""

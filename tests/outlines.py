"""Paint polygons as masks, by another library than the one that made them."""

import numpy as np
from matplotlib.path import Path as Outline


def painted(shape, regions):
    """A mask of the regions of (class, corners in pixels)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    centres = np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)
    mask = np.zeros(shape, dtype=np.uint8)
    for class_id, corners in regions:
        inside = Outline([*corners, corners[0]], closed=True).contains_points(centres)
        mask[inside.reshape(shape)] = class_id
    return mask

import numpy as np
import torch

from factory.segment.refine import guided_filter, upsample


def naive(one, guide, radius, epsilon):
    """The published formulas, pixel by pixel, with repeated borders."""
    height, width = one.shape
    pad = radius
    p = np.pad(one, pad, mode="edge")
    g = np.pad(guide, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    slope, offset = np.zeros((3, height, width)), np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            window = g[:, y : y + 2 * pad + 1, x : x + 2 * pad + 1].reshape(3, -1)
            values = p[y : y + 2 * pad + 1, x : x + 2 * pad + 1].ravel()
            mean = window.mean(axis=1)
            cov = window @ window.T / len(values) - np.outer(mean, mean) + epsilon * np.eye(3)
            cross = window @ values / len(values) - mean * values.mean()
            slope[:, y, x] = np.linalg.solve(cov, cross)
            offset[y, x] = values.mean() - slope[:, y, x] @ mean

    def mean_of(maps):
        padded = np.pad(maps, pad, mode="edge")
        return np.array(
            [
                [padded[y : y + 2 * pad + 1, x : x + 2 * pad + 1].mean() for x in range(width)]
                for y in range(height)
            ]
        )

    smooth = np.stack([mean_of(part) for part in slope])
    return (smooth * guide).sum(axis=0) + mean_of(offset)


def test_it_is_the_guided_filter_of_the_paper():
    rng = np.random.default_rng(0)
    maps, guide = rng.random((2, 9, 11)), rng.random((3, 9, 11))
    found = guided_filter(torch.from_numpy(maps), torch.from_numpy(guide), 2, 1e-2)
    for one, ours in zip(maps, found, strict=True):
        np.testing.assert_allclose(ours.numpy(), naive(one, guide, 2, 1e-2), atol=1e-9)


def test_an_edge_moves_to_where_the_image_has_it():
    guide = torch.zeros(3, 32, 32)
    guide[:, :, 17:] = 1
    coarse = torch.zeros(1, 8, 8)
    coarse[:, :, 4:] = 1
    wide = upsample(coarse, (32, 32))
    fine = guided_filter(wide, guide, 3, 1e-4)
    truth = guide[0] > 0.5
    assert ((wide[0] > 0.5) != truth).sum() > 0
    assert torch.equal(fine[0] > 0.5, truth)


def test_maps_of_the_right_size_are_not_touched():
    maps = torch.rand(2, 5, 5)
    assert upsample(maps, (5, 5)) is maps

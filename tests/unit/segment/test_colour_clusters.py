import numpy as np
import pytest
import torch

from factory.segment.style_mixing.colour_clusters import cluster_pixels, pixel_vectors


def rng(seed=0):
    return np.random.default_rng(seed)


def blobs(count=40, spread=0.05):
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])
    ids = torch.arange(4).repeat_interleave(count)
    return centres[ids] + spread * torch.randn(4 * count, 2), ids


def test_standardised_colours_have_mean_0_and_deviation_1_in_each_variant_and_channel():
    colours = torch.rand(3, 3, 5, 4) * torch.tensor([1.0, 5, 50])[:, None, None, None]
    rows = pixel_vectors(colours)
    assert rows.shape == (20, 9)
    assert torch.allclose(rows.mean(dim=0), torch.zeros(9), atol=1e-5)
    assert torch.allclose(rows.std(dim=0, correction=0), torch.ones(9), atol=1e-5)


def test_a_row_holds_the_colours_of_its_pixel_in_every_variant():
    colours = torch.rand(2, 3, 4, 5)
    deviation, mean = torch.std_mean(colours, dim=(2, 3), correction=0)
    expected = (colours[:, :, 1, 2] - mean) / deviation
    assert torch.allclose(pixel_vectors(colours)[7], expected.flatten(), atol=1e-5)


def test_far_groups_are_found_whatever_the_seed():
    vectors, ids = blobs()
    for seed in range(10):
        distance = cluster_pixels(vectors, 4, rng(seed))
        found = distance.argmin(dim=0)
        assert distance.shape == (4, 160)
        assert len(set(zip(ids.tolist(), found.tolist(), strict=True))) == 4


def test_distances_are_those_to_the_mean_of_each_cluster():
    vectors, _ = blobs()
    distance = cluster_pixels(vectors, 4, rng())
    found = distance.argmin(dim=0)
    means = torch.stack([vectors[found == k].mean(dim=0) for k in range(4)])
    assert torch.allclose(distance, torch.cdist(means, vectors), atol=2e-3)


def test_more_restarts_never_end_with_a_worse_clustering():
    torch.manual_seed(1)
    vectors = torch.rand(300, 6)

    def inertia(restarts):
        distance = cluster_pixels(vectors, 6, rng(3), restarts=restarts)
        return float(distance.amin(dim=0).square().mean())

    assert inertia(8) < inertia(1)


def test_the_same_numbers_give_the_same_clusters():
    vectors, _ = blobs(spread=2.0)
    first, second = (cluster_pixels(vectors, 4, rng(1)) for _ in "ab")
    assert torch.equal(first, second)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_an_image_of_one_colour_is_one_cluster_and_no_error(value):
    distance = cluster_pixels(torch.full((64, 6), value), 3, rng())
    assert torch.isfinite(distance).all()
    assert len(distance.argmin(dim=0).unique()) == 1

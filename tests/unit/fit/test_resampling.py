import pytest
import torch

from factory.fit.resampling import (
    agreement_at_cuts,
    merges_under_resampling,
    stability_of_nodes,
)


def sums_of(places, noise, seed=0, parts=16, per_part=50):
    """Sums and sizes of clusters around `places`, by part; a part's mean is `noise` off."""
    torch.manual_seed(seed)
    means = torch.tensor(places, dtype=torch.float64)
    shifted = means + noise * torch.randn(parts, *means.shape, dtype=torch.float64)
    return shifted * per_part, torch.full((parts, len(places)), per_part)


PLACES = [[0.0, 0], [1, 0], [10, 0], [11, 0], [30, 30], [31, 30]]
OWN = [(0, 1), (2, 3), (4, 5), (1, 3)]


def test_clear_clusters_come_out_the_same_from_other_images():
    sums, sizes = sums_of(PLACES, 0.01)
    agreement = agreement_at_cuts(OWN, merges_under_resampling(sums, sizes), sizes.sum(dim=0))
    assert agreement.shape == (5,)
    assert agreement[[0, 1, 4]].tolist() == [1, 1, 1], "at two, three and six classes"
    assert (agreement <= 1).all()


def test_clusters_that_only_chance_tells_apart_do_not():
    sums, sizes = sums_of([[float(k % 2), k // 2 * 1.0] for k in range(6)], 3.0)
    merges = merges_under_resampling(sums, sizes)
    agreement = agreement_at_cuts(merges[0], merges[1:], sizes.sum(dim=0))
    assert agreement[:3].max() < 0.7


def test_the_draws_are_the_same_each_time_and_parts_without_pixels_are_not_drawn():
    sums, sizes = sums_of(PLACES, 1.0)
    first = merges_under_resampling(sums, sizes)
    assert first == merges_under_resampling(sums, sizes)
    assert len({tuple(order) for order in first}) > 1
    sums[3:], sizes[3:] = 0, 0
    for order in merges_under_resampling(sums, sizes):
        assert len(order) == 4
        assert {leaf for merge in order for leaf in merge} <= set(range(6))


def test_agreement_is_the_adjusted_rand_index_of_pixels():
    sizes = torch.tensor([30, 30, 30, 30])
    one, other = [(0, 1), (2, 3)], [(0, 2), (1, 3)]
    assert agreement_at_cuts(one, [one], sizes).tolist() == [1, 1, 1]
    # 120 pixels, 4 x 30 in common: pairs 1740, expected 3540 ** 2 / 7140, most 3540
    expected = 3540**2 / 7140
    assert agreement_at_cuts(one, [other], sizes)[0] == pytest.approx(
        (1740 - expected) / (3540 - expected)
    )


def test_a_node_is_as_stable_as_the_nodes_of_other_trees_resemble_it():
    sizes = torch.tensor([10, 20, 30, 40])
    own, other = [(0, 1), (2, 3)], [(0, 2), (1, 3)]
    stability = stability_of_nodes(own, [own, other], sizes)
    assert stability[:4].tolist() == [1, 1, 1, 1], "leaves stay what they are"
    # {0, 1} of 30 pixels: leaf 1 alone overlaps by 20/30, {0, 2} by 10/60, {1, 3} by 20/70.
    # {2, 3} of 70: leaf 3 by 40/70, {1, 3} by 40/90.
    assert stability[4].item() == pytest.approx((1 + 20 / 30) / 2)
    assert stability[5].item() == pytest.approx((1 + 40 / 70) / 2)


def test_stability_tells_clear_nodes_from_those_of_chance_and_bears_empty_clusters():
    sums, sizes = sums_of(PLACES, 0.01)
    clear = stability_of_nodes(OWN, merges_under_resampling(sums, sizes), sizes.sum(dim=0))
    assert clear[6:9].tolist() == [1, 1, 1], "the three pairs"
    sums, sizes = sums_of([[float(k % 2), k // 2 * 1.0] for k in range(6)], 3.0)
    merges = merges_under_resampling(sums, sizes)
    assert stability_of_nodes(merges[0], merges[1:], sizes.sum(dim=0))[6:].min() < 0.8
    assert stability_of_nodes(OWN, [OWN], torch.tensor([0, 0, 5, 5, 5, 5])).tolist() == [1.0] * 10

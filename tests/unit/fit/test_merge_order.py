import pytest
import torch
from fit_context import context_of

from factory.fit.found import Found
from factory.fit.kmeans import cluster
from factory.fit.merge_order import (
    MergeCosts,
    choose_cheap_pair,
    choose_cheapest_pair,
    choose_pair,
)
from factory.fit.merging import merge_clusters
from factory.fit.pixels.ball import find_ball
from factory.segment.tree.suggest import shares_of


def symmetric(count, values, rest=0.0):
    table = torch.full((count, count), rest, dtype=torch.float64)
    for (first, second), value in values.items():
        table[first, second] = table[second, first] = value
    return table


def cheap_pair(costs, ious, alike=None, sizes=None):
    count = len(ious)
    return choose_cheap_pair(
        symmetric(count, costs, rest=100.0),
        torch.tensor(ious, dtype=torch.float64),
        symmetric(count, alike or {}),
        torch.tensor(sizes or [10] * count),
    )


def test_the_worst_separated_of_the_cheap_pairs_is_merged():
    costs = {(0, 1): 1.0, (2, 3): 1.6, (1, 2): 1.7}  # up to 1 + 2.5 / 4 times the cheapest
    assert cheap_pair(costs, [0.9, 0.9, 0.8, 0.7]) == (3, 2)
    assert cheap_pair(costs, [0.9, 0.6, 0.8, 0.7]) == (1, 0)
    assert cheap_pair(costs, [0.9, 0.9, 0.5, 0.9]) == (2, 3)


def test_the_more_clusters_there_are_the_less_has_separation_to_say():
    costs, ious = {(0, 1): 1.0, (2, 3): 1.6}, [0.9, 0.9, 0.1, 0.1]
    assert set(cheap_pair(costs, ious)) == {2, 3}
    assert set(cheap_pair(costs, [*ious, *[0.0] * 6])) == {0, 1}


def test_ties_go_to_the_most_alike_pair_and_then_to_the_smallest_cluster():
    costs = {(0, 1): 1.0, (2, 3): 1.0}
    assert set(cheap_pair(costs, [1.0] * 4, alike={(2, 3): 0.2})) == {2, 3}
    assert cheap_pair(costs, [1.0] * 4, sizes=[9, 8, 3, 7]) == (2, 3)


def test_a_merge_that_makes_one_class_of_nearly_all_gives_way_to_one_that_is_affordable():
    sizes = [80, 10, 6, 4]
    assert set(cheap_pair({(0, 1): 1.0, (2, 3): 2.9}, [1.0] * 4, sizes=sizes)) == {2, 3}
    assert set(cheap_pair({(0, 1): 1.0, (2, 3): 3.1}, [1.0] * 4, sizes=sizes)) == {0, 1}
    assert choose_cheapest_pair(
        symmetric(4, {(0, 1): 1.0, (2, 3): 2.9}, rest=100.0), torch.tensor(sizes)
    ) == (2, 3)


def test_while_there_are_many_clusters_two_fifths_of_the_pixels_are_too_many():
    pairs, sizes = {(0, 1): 1.0, (2, 3): 2.9}, [30, 15, *[8] * 7]
    assert set(cheap_pair(pairs, [1.0] * 9, sizes=sizes)) == {2, 3}
    assert set(cheap_pair(pairs, [1.0] * 8, sizes=sizes[:8])) == {0, 1}
    assert set(cheap_pair({(0, 1): 1.0, (2, 3): 5.1}, [1.0] * 9, sizes=sizes)) == {0, 1}


def test_costs_grow_with_distance_and_with_less_than_ward_s_weight():
    sums = torch.tensor([[0.0, 0], [40, 0], [0, 300]], dtype=torch.float64)
    costs = MergeCosts(sums, torch.tensor([10, 10, 30])).among(torch.arange(3))
    assert costs[0, 1] == pytest.approx((10 * 10 / 20) ** 0.75 * 16)
    assert costs[0, 2] == pytest.approx((10 * 30 / 40) ** 0.75 * 100)
    assert torch.equal(costs, costs.T)


def test_while_there_are_many_clusters_sizes_count_for_less():
    sums = torch.arange(9, dtype=torch.float64)[:, None] * 10
    costs = MergeCosts(sums, torch.full((9,), 10))
    many, few = costs.among(torch.arange(9)), costs.among(torch.arange(8))
    assert many[0, 1] == pytest.approx((10 * 10 / 20) ** 0.45)
    assert few[0, 1] == pytest.approx((10 * 10 / 20) ** 0.75)


def test_costs_after_a_merge_are_those_of_the_merged_clusters():
    torch.manual_seed(0)
    sums, sizes = torch.randn(5, 3, dtype=torch.float64), torch.randint(1, 90, (5,))
    costs = MergeCosts(sums, sizes)
    costs.join(1, 3)
    alive = torch.tensor([0, 2, 3, 4])
    merged, grown = sums.clone(), sizes.clone()
    merged[3] += merged[1]
    grown[3] += grown[1]
    anew = MergeCosts(merged[alive], grown[alive])
    assert torch.equal(costs.among(alive), anew.among(torch.arange(4)))
    assert torch.equal(costs.sizes(alive), grown[alive])


def test_an_empty_cluster_costs_nothing():
    sums = torch.tensor([[5.0, 5], [0, 0], [9, 1]], dtype=torch.float64)
    costs = MergeCosts(sums, torch.tensor([5, 0, 5])).among(torch.arange(3))
    assert costs.isfinite().all()
    assert costs[1].tolist() == [0, 0, 0]


def pair_of(ious, alike, sizes):
    table = symmetric(len(ious), alike) + torch.eye(len(ious), dtype=torch.float64)
    return choose_pair(torch.tensor(ious, dtype=torch.float64), table, torch.tensor(sizes))


def test_as_published_the_worst_separated_cluster_joins_the_one_it_is_most_alike():
    alike = {(0, 1): 0.9, (0, 2): 0.1, (1, 2): 0.3}
    assert pair_of([0.9, 0.8, 0.2], alike, [5, 5, 5]) == (2, 1)
    assert pair_of([0.1, 0.8, 0.2], alike, [5, 5, 5]) == (0, 1)


def test_as_published_ties_go_to_the_most_alike_and_then_to_the_smallest():
    assert pair_of([1.0, 1, 1], {(1, 2): 0.2}, [1, 5, 4]) == (2, 1)
    assert pair_of([1.0, 1, 1], {}, [7, 5, 6]) == (1, 2)


def heavy_tails(seed, per_part=1500, channels=12):
    """Four parts that overlap at their borders; one pixel in fifty lies up to fifty times as far out."""
    torch.manual_seed(seed)
    centres = torch.randn(4, channels) * 1.2
    vectors = (centres[:, None] + torch.randn(4, per_part, channels) * 0.8).flatten(0, 1)
    is_far = torch.rand(len(vectors)) < 0.02
    vectors[is_far] *= 4 + 12 * torch.rand(int(is_far.sum()), 1)
    return vectors, torch.arange(4).repeat_interleave(per_part)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_heavy_tails_give_the_published_rule_one_class_and_the_robust_one_the_parts(tmp_path, seed):
    vectors, parts = heavy_tails(seed)
    tops, found = {}, {}
    for rule in ("published", "robust"):
        context = context_of(tmp_path, vectors)
        ball = find_ball(vectors) if rule == "robust" else None
        if ball is not None:
            context.pool.update("clip", ball)
        centres, _ = cluster(context, 24, seed)
        tree = merge_clusters(context, len(vectors), Found(centres, ball=ball)).hierarchy
        nodes = tree.flat_cut(4)
        tops[rule] = max(shares_of(tree, nodes))
        planes = tree.planes[list(nodes)]
        classes = torch.addmm(planes[:, -1], vectors, planes[:, :-1].T).argmax(dim=1)
        table = torch.bincount(classes * 4 + parts, minlength=16).view(4, 4)
        found[rule] = float(table.amax(dim=0).sum() / len(vectors))
    assert tops["published"] > 0.9, tops
    assert tops["robust"] < 0.45, tops
    assert found["robust"] > 0.85, found

import numpy as np
import pytest
import torch
from fit_context import context_of, found_planes, loss_of, mixture

from factory.errors import JobError
from factory.fit.found import Found
from factory.fit.merging import merge_clusters, merged_plane
from factory.fit.pixels.pool import added
from factory.segment.tree.suggest import suggest_cuts

CPU = torch.device("cpu")


def test_the_two_figures_are_those_of_the_paper(tmp_path):
    vectors, ids, planes = mixture(20_000)
    pool = context_of(tmp_path, vectors, ids).pool
    both, either, alike, agreed = added(pool.update("hold", planes))
    scores = vectors.numpy() @ planes[:, :-1].numpy().T + planes[:, -1].numpy()
    membership = (np.clip(scores, -1, 1).astype(np.float64) + 1) / 2
    assert np.allclose(alike.numpy(), membership.T @ membership, rtol=1e-5)
    assert int(agreed) == (scores.argmax(1) == ids.numpy()).sum()
    for k in range(4):
        inside, member = scores[:, k] > 0, ids.numpy() == k
        assert [int(both[k]), int(either[k])] == [(inside & member).sum(), (inside | member).sum()]


def test_one_plane_s_figures_are_its_share_of_all(tmp_path):
    vectors, ids, planes = mixture(5000)
    pool = context_of(tmp_path, vectors, ids).pool
    pool.update("hold", planes)
    pool.update("join", 1, 3)
    both, either, row = added(pool.update("hold_one", 3, planes[0] - 0.1))
    planes[3] = planes[0] - 0.1
    again = added(pool.update("hold", planes))
    assert [int(both), int(either)] == [int(again[0][3]), int(again[1][3])]
    assert torch.allclose(row, again[2][3], rtol=1e-5)


@pytest.mark.parametrize(("count", "kind"), [(256, torch.uint8), (257, torch.int16)])
def test_a_plane_s_rank_is_how_many_score_higher_at_a_pixel(tmp_path, count, kind):
    vectors, _, _ = mixture(1600)
    planes = torch.randn(count, 6)
    found = context_of(tmp_path, vectors).pool.query("ranks", planes, 7)
    assert [ranks.shape for ranks in found] == [(7, count)] * 16
    assert all(ranks.dtype == kind for ranks in found)
    rows = torch.cat([part[::15] for part in vectors.view(16, 100, 5)])
    scores = rows @ planes[:, :-1].T + planes[:, -1]
    higher = (scores[:, None, :] > scores[:, :, None]).sum(dim=2)
    off = torch.cat(found).long() != higher
    assert off.float().mean() < 0.001, "equal but for rounding"


def test_a_merged_plane_is_the_mean_weighted_by_pixels():
    planes = torch.tensor([[1.0, 0, 4], [5, 2, 0]])
    assert merged_plane(planes, torch.tensor([10, 30])).tolist() == [[4.0, 1.5, 1.0]]
    assert merged_plane(planes, torch.zeros(2).long()).isfinite().all()


def blobs(places, per_blob=400):
    torch.manual_seed(1)
    centres = torch.tensor(places)
    return torch.cat([place + torch.randn(per_blob, 2) for place in centres]), centres


def merge(folder, vectors, centres, found=None):
    context = context_of(folder, vectors)
    return merge_clusters(context, len(vectors), found or Found(centres))


def labels_at(merged, vectors, num_classes):
    planes = merged.hierarchy.planes[list(merged.hierarchy.flat_cut(num_classes))]
    return (vectors @ planes[:, :-1].T + planes[:, -1]).argmax(dim=1)


@pytest.mark.slow
def test_blobs_that_overlap_are_merged_before_those_that_do_not(tmp_path):
    places = [[0.0, 0], [1.2, 0], [20, 0], [21.2, 0], [0, 20], [1.2, 20]]
    vectors, centres = blobs(places)
    merged = merge(tmp_path, vectors, centres)
    tree = merged.hierarchy
    assert [len(tree.planes), len(tree.sizes), len(tree.history), len(tree.margins)] == [
        10,
        10,
        4,
        5,
    ]
    sides = labels_at(merged, vectors, 3).view(3, 800)
    assert [(side == side.mode().values).float().mean() > 0.99 for side in sides] == [True] * 3
    assert len(sides.mode(dim=1).values.unique()) == 3
    leaves = tree.history[:3, :2].flatten().tolist()
    assert sorted(leaves) == [0, 1, 2, 3, 4, 5], "each pair is merged before any two pairs are"
    assert (tree.history[:3, 2] < 0.9).all()
    assert tree.history[3, 2] > 0.99
    assert suggest_cuts(tree).num_classes == 3
    assert (tree.margins > 0).all()
    assert tree.sizes[6:9].tolist() == [800, 800, 800]


def test_a_merged_cluster_goes_on_under_a_new_number(tmp_path):
    vectors, centres = blobs([[0.0, 0], [1.0, 0], [2.0, 0], [20, 0]])
    history = merge(tmp_path, vectors, centres).hierarchy.history
    first, second = history[:, :2].tolist()
    assert 4.0 in second
    assert {*first, *second} - {4.0} <= {0.0, 1.0, 2.0, 3.0}
    assert (history[:, 2:] >= 0).all()
    assert (history[:, 2:] <= 1).all()


def test_a_cluster_without_pixels_is_merged_first(tmp_path):
    vectors, centres = blobs([[0.0, 0], [20, 0], [0, 20]])
    centres = torch.cat([torch.tensor([[500.0, 500]]), centres])
    tree = merge(tmp_path, vectors, centres).hierarchy
    assert tree.history[0].tolist()[0] == 3.0, "the last by size"
    assert tree.history[0, 2] == 0
    assert tree.sizes.tolist()[:4] == [400, 400, 400, 0]
    with pytest.raises(JobError) as caught:
        merge(tmp_path, vectors[:400], centres)
    assert str(caught.value) == (
        "dataset.segmenter.initial_clusters: all fitting pixels lie in one cluster; fit on more "
        "images, or on other layers"
    )


@pytest.mark.slow
def test_a_refit_at_a_cut_moves_no_label(tmp_path):
    """One plane per node serves every cut: fitted anew for the cut alone, from nowhere, it is it."""
    torch.manual_seed(0)
    vectors = torch.cat([torch.randn(500, 4) + 3 * torch.randn(4) for _ in range(8)])
    merged = merge(tmp_path, vectors, vectors[::500].clone())
    tree = merged.hierarchy
    owners = (vectors[:, None] - vectors[None, ::500]).square().sum(dim=2).argmin(dim=1)
    order = owners.bincount().argsort(descending=True, stable=True)
    owners = order.argsort()[owners]
    for num_classes in (7, 5, 3):
        nodes = tree.flat_cut(num_classes)
        ids = torch.stack([torch.isin(owners, torch.tensor(sorted(tree.leaves(n)))) for n in nodes])
        loss = loss_of(tmp_path, vectors, ids.long().argmax(dim=0))
        refitted, _ = found_planes(loss, torch.arange(num_classes), torch.zeros(num_classes, 5))
        kept = loss(torch.arange(num_classes), tree.planes[list(nodes)]).losses
        assert torch.allclose(kept, loss(torch.arange(num_classes), refitted).losses, rtol=1e-3)
        labels = (vectors @ refitted[:, :-1].T + refitted[:, -1]).argmax(dim=1)
        assert (labels == labels_at(merged, vectors, num_classes)).float().mean() > 0.999

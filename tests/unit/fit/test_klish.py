import threading
from itertools import permutations

import numpy as np
import pytest
import torch
from fit_context import context_of, make_context
from safetensors.torch import load
from small_job import small_job

from factory.errors import Interrupted, JobError
from factory.fit.fitted import fit_segmenter
from factory.fit.klish import fit_klish
from factory.fit.merging import Found, choose_pair, merge_clusters, merged_plane
from factory.fit.pixels.part import LEAST_CURVED
from factory.fit.pixels.pool import LanePool, added, one_thread
from factory.fit.pixels.separation import PENALTY, HingeLoss, separate
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.shapes import ShapesGenerator
from factory.generate.weights.find import LocalWeights
from factory.run.calibrate import calibrate
from factory.segment.segmenter_file import read_segmenter, weight_name
from factory.segment.tree.hierarchy import read_hierarchy
from factory.spec import GeneratorSpec, LatentsSpec

CPU = torch.device("cpu")
SMALL_FIT = {"num_images": 8, "pixels_per_image": 64}
KLISH = {"kind": "klish", "initial_clusters": 12, "fit": SMALL_FIT}


def mixture(num_pixels=300, num_channels=5, num_classes=4, seed=0):
    """Overlapping blobs with ids, and random planes near their pixels."""
    torch.manual_seed(seed)
    ids = torch.arange(num_pixels) % num_classes
    vectors = torch.randn(num_classes, num_channels)[ids] + torch.randn(num_pixels, num_channels)
    return vectors, ids, torch.randn(num_classes, num_channels + 1) / 2


def plain_losses(vectors, ids, classes, planes):
    scores = vectors @ planes[:, :-1].T + planes[:, -1]
    sign = (ids[:, None] == classes).to(planes) * 2 - 1
    hinge = (1 - sign * scores).clamp(min=0).square().sum(dim=0)
    return planes[:, :-1].square().sum(dim=1) / 2 + 5000 / len(vectors) * hinge


def loss_of(folder, vectors, ids):
    return HingeLoss(context_of(folder, vectors, ids).pool, len(vectors))


def found_planes(loss, classes, start):
    return separate(loss, classes, start, lambda _: None)


@pytest.mark.parametrize("num_pixels", [300, 20_000])
def test_the_gradient_is_the_one_of_the_formula(tmp_path, num_pixels):
    vectors, ids, planes = mixture(num_pixels)
    classes = torch.arange(4)
    wanted = planes.double().requires_grad_()
    plain_losses(vectors.double(), ids, classes, wanted).sum().backward()
    here = loss_of(tmp_path, vectors, ids)(classes, planes)
    losses, gradients = here.losses, here.slopes
    assert torch.allclose(losses, plain_losses(vectors.double(), ids, classes, planes.double()))
    assert torch.allclose(gradients, wanted.grad, rtol=1e-4, atol=1e-2)


def test_the_gradient_is_the_slope_of_the_loss(tmp_path):
    vectors, ids, planes = mixture()
    classes = torch.arange(4)
    torch.manual_seed(9)
    way = torch.randn_like(planes) * 1e-2
    loss = loss_of(tmp_path, vectors, ids)
    ahead, behind = loss(classes, planes + way).losses, loss(classes, planes - way).losses
    slope = 2 * (loss(classes, planes).slopes * way).sum(dim=1)
    assert torch.allclose(ahead - behind, slope, rtol=2e-2)


def test_the_search_ends_at_the_least_loss(tmp_path):
    vectors, ids, start = mixture()
    classes = torch.arange(4)
    loss = loss_of(tmp_path, vectors, ids)
    planes, rounds = found_planes(loss, classes, start)
    wanted = start.double().requires_grad_()
    reference = torch.optim.LBFGS([wanted], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        reference.zero_grad()
        loss = plain_losses(vectors.double(), ids, classes, wanted).sum()
        loss.backward()
        return loss

    reference.step(closure)
    least = plain_losses(vectors.double(), ids, classes, wanted).detach()
    assert (rounds > 0).all()
    assert (rounds < 30).all()
    assert ((loss(classes, planes).losses - least) / least).abs().max() < 1e-4


def test_a_search_far_from_the_origin_ends_too(tmp_path):
    vectors, ids, start = mixture()
    loss = loss_of(tmp_path, vectors * 30 + 100, ids)
    planes, _ = found_planes(loss, torch.arange(4), start)
    found = loss(torch.arange(4), planes).losses
    assert (found < loss(torch.arange(4), start).losses).all()
    assert (found < PENALTY).all(), "worse than no plane at all"


def test_one_plane_does_not_depend_on_the_others(tmp_path):
    vectors, ids, start = mixture()
    loss = loss_of(tmp_path, vectors, ids)
    together, _ = found_planes(loss, torch.arange(4), start)
    alone, _ = found_planes(loss, torch.tensor([2]), start[2:3])
    first, second = (loss(torch.tensor([2]), p).losses for p in (together[2:3], alone))
    assert torch.allclose(first, second, rtol=1e-4)


def test_pixels_no_more_than_needed_are_all_curved(tmp_path):
    vectors, ids, _ = mixture(num_pixels=2000, num_channels=240)
    curves = loss_of(tmp_path, vectors, ids).curves(torch.arange(1), torch.zeros(1, 241))
    rows = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1).double()
    exact = rows.T @ rows * (2 * PENALTY / len(rows)) + torch.eye(241)
    assert ((curves[0] - exact).abs() < 1e-4 * exact.diagonal().max()).all()


def test_a_step_that_is_refused_needs_no_second_derivatives(tmp_path):
    vectors, ids, start = mixture(num_pixels=2000, num_channels=240)
    looks, curves = [], []

    class Counted(HingeLoss):
        def __call__(self, columns, planes):
            looks.append(len(columns))
            return super().__call__(columns, planes)

        def curves(self, columns, planes):
            curves.append(len(columns))
            return super().curves(columns, planes)

    loss = Counted(context_of(tmp_path, vectors, ids).pool, len(vectors))
    _, rounds = found_planes(loss, torch.arange(4), start)
    assert sum(curves) == int(rounds.sum())
    assert sum(looks) > sum(curves) + 4, "no step was refused; take other pixels"


def test_few_active_pixels_stand_for_many(tmp_path):
    vectors, ids, _ = mixture(40_000)
    order = torch.randperm(len(vectors))
    vectors, ids, planes = vectors[order], ids[order], torch.zeros(4, 6)
    assert len(vectors) > 1024 > LEAST_CURVED * 5
    curves = loss_of(tmp_path, vectors, ids).curves(torch.arange(4), planes)
    rows = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1).double()
    exact = rows.T @ rows * (2 * PENALTY / len(rows))
    assert ((curves - exact).abs() < 0.2 * exact.diagonal().max()).all()
    assert torch.linalg.eigvalsh(curves).min() > 0


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


def test_a_merged_plane_is_the_mean_weighted_by_pixels():
    planes = torch.tensor([[1.0, 0, 4], [5, 2, 0]])
    assert merged_plane(planes, torch.tensor([10, 30])).tolist() == [[4.0, 1.5, 1.0]]
    assert merged_plane(planes, torch.zeros(2).long()).isfinite().all()


def pair_of(ious, alike, sizes):
    symmetric = torch.eye(len(ious), dtype=torch.float64)
    for (first, second), value in alike.items():
        symmetric[first, second] = symmetric[second, first] = value
    return choose_pair(torch.tensor(ious, dtype=torch.float64), symmetric, torch.tensor(sizes))


def test_the_worst_separated_cluster_joins_the_one_it_is_most_alike():
    alike = {(0, 1): 0.9, (0, 2): 0.1, (1, 2): 0.3}
    assert pair_of([0.9, 0.8, 0.2], alike, [5, 5, 5]) == (2, 1)
    assert pair_of([0.1, 0.8, 0.2], alike, [5, 5, 5]) == (0, 1)


def test_ties_go_to_the_most_alike_and_then_to_the_smallest():
    assert pair_of([1.0, 1, 1], {(1, 2): 0.2}, [1, 5, 4]) == (2, 1)
    assert pair_of([1.0, 1, 1], {}, [7, 5, 6]) == (1, 2)


def blobs(places, per_blob=400):
    torch.manual_seed(1)
    centres = torch.tensor(places)
    return torch.cat([place + torch.randn(per_blob, 2) for place in centres]), centres


def merge(folder, vectors, centres, found=None):
    bench = context_of(folder, vectors)
    return merge_clusters(bench, len(vectors), found or Found(centres))


def labels_at(merged, vectors, num_classes):
    planes = merged.hierarchy.planes[list(merged.hierarchy.flat_cut(num_classes))]
    return (vectors @ planes[:, :-1].T + planes[:, -1]).argmax(dim=1)


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
    assert tree.suggest().num_classes == 3
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


def fit(folder, overrides=None, **options):
    dataset = small_job(folder, {"dataset.segmenter": dict(KLISH)} | (overrides or {})).dataset
    told = []
    data = fit_segmenter(
        dataset,
        LocalWeights(None, ""),
        device=CPU,
        on_progress=lambda *now: told.append(now),
        **options,
    )
    return data, told


def test_the_same_job_gives_the_same_file_on_any_number_of_threads(tmp_path):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first, told = fit(tmp_path)
        torch.set_num_threads(2)
        assert fit(tmp_path)[0] == first
        assert torch.get_num_threads() == 2
        bench = make_context(tmp_path, small_job(tmp_path, {"dataset.segmenter": KLISH}).dataset)
        lanes = LanePool(
            ShapesGenerator(GeneratorSpec(kind="shapes"), None, CPU), bench.dataset, CPU, 3
        )
        assert fit(tmp_path, pool=lanes)[0] == first
        lanes.close()
    finally:
        torch.set_num_threads(before)
    ends = [now[:3] for now in told if now[1] == now[2]]
    assert ends == [
        ("sampling 1/2", 8, 8),
        ("clusters", 500, 500),
        ("sampling 2/2", 8, 8),
        ("planes", 12, 12),
        ("merging", 10, 10),
    ]
    other = KLISH | {"fit": SMALL_FIT | {"seed": 1}}
    assert fit(tmp_path, {"dataset.segmenter": other})[0] != first


class Recorder(ShapesGenerator):
    """The toy generator, with an account of the latents it was given."""

    seen: list[np.ndarray]

    def generate(self, latents, layers):
        self.seen.append(latents.z)
        return super().generate(latents, layers)


def test_the_merging_sees_other_images_than_the_clustering(tmp_path):
    dataset = small_job(tmp_path, {"dataset.segmenter": KLISH}).dataset
    generator = Recorder(dataset.generator, None, CPU)
    generator.seen = []
    with one_thread(), torch.inference_mode():
        fit_klish(dataset.segmenter, make_context(tmp_path, dataset, generator))
    latents = np.concatenate(generator.seen)
    assert len(latents) == len(np.unique(latents, axis=0)) == 2 * 9, (
        "three whole batches for eight images, twice"
    )


def test_the_file_is_a_head_of_all_leaves_and_the_tree(tmp_path):
    data, _ = fit(tmp_path)
    path = tmp_path / "fit"
    path.write_bytes(data)
    tensors, facts = read_segmenter(path)
    assert [label.name for label in facts.labels] == [f"cluster_{k:02d}" for k in range(12)]
    assert facts.kind == "klish"
    assert facts.layers == ["s8", "s16", "s32"]
    tree = read_hierarchy(tensors)
    weights = torch.cat([tensors[weight_name(name)] for name in facts.layers], dim=1)
    assert torch.equal(torch.cat([weights, tensors["bias"][:, None]], dim=1), tree.planes[:12])
    assert [tree.num_leaves, tree.num_nodes, len(tree.planes)] == [12, 22, 22]
    assert tree.sizes[:12].tolist() == sorted(tree.sizes[:12].tolist(), reverse=True)
    assert int(tree.sizes[:12].sum()) == 512
    for node in range(12, 22):
        assert tree.sizes[node] == sum(tree.sizes[part] for part in tree.children(node))
    assert facts.margin_scale == float(tree.margins[-1]) > 0
    numbers = facts.fitted_on
    assert [numbers[name] for name in ("num_images", "num_pixels", "num_channels")] == [16, 512, 32]
    assert numbers["num_rounds"] >= 22
    assert numbers["agreement"] > 0.9


class StoppedError(Exception):
    """The test's own way to end a fit anywhere."""


@pytest.mark.parametrize("at", [("clusters", 401), ("planes", 1), ("merging", 3), ("merging", 9)])
def test_a_fit_goes_on_where_it_was_stopped_and_gives_the_same_file(tmp_path, at):
    overrides = {"dataset.segmenter": KLISH | {"fit": SMALL_FIT | {"seed": 31}}}
    whole, _ = fit(tmp_path, overrides)
    dataset = small_job(tmp_path, overrides).dataset

    def stop(stage, done, *_):
        if stage == at[0] and done >= at[1]:
            raise StoppedError

    with one_thread(), torch.inference_mode():
        bench = make_context(tmp_path, dataset)
        bench.progress.on_progress = stop
        with pytest.raises(StoppedError):
            fit_klish(dataset.segmenter, bench)
        stages = []
        again = make_context(tmp_path, dataset)
        again.progress.on_progress = lambda stage, *_: stages.append(stage)
        assert fit_klish(dataset.segmenter, again) == whole
    assert ("clusters" in stages) == (at[0] == "clusters")


def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path):
    whole, _ = fit(tmp_path)
    dataset = small_job(tmp_path, {"dataset.segmenter": KLISH}).dataset
    bench = make_context(tmp_path, dataset)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "it").write_bytes(b"half a file")
    with one_thread(), torch.inference_mode():
        assert fit_klish(dataset.segmenter, bench) == whole


def test_a_fit_stops_when_asked_to(tmp_path):
    stop = threading.Event()
    stop.set()
    overrides = {"dataset.segmenter": KLISH | {"fit": SMALL_FIT | {"seed": 32}}}
    with pytest.raises(Interrupted) as caught:
        fit(tmp_path, overrides, stop=stop)
    assert str(caught.value) == "stopped while fitting; run the same command again to resume"


def refusal(folder, **settings):
    with pytest.raises(JobError) as caught:
        fit(folder, {"dataset.segmenter": KLISH | settings})
    return str(caught.value)


def test_two_clusters_are_refused_with_the_job(tmp_path):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": KLISH | {"initial_clusters": 2}})
    assert "dataset.segmenter" in str(caught.value)
    assert "greater than or equal to 3" in str(caught.value)


def test_more_clusters_than_pixels_are_refused(tmp_path):
    few = {"num_images": 2, "pixels_per_image": 3}
    assert refusal(tmp_path, fit=few) == (
        "dataset.segmenter.initial_clusters: found 12, but the fitting pixels hold fewer distinct "
        "vectors; ask for fewer clusters or fit on more images"
    )


def test_more_pixels_than_memory_are_refused_with_numbers(tmp_path):
    much = {"num_images": 1000, "pixels_per_image": 100_000}
    assert refusal(tmp_path, fit=much) == (
        "dataset.segmenter.fit.pixels_per_image: found 100000; 1000 images x 100000 pixels x 32 "
        "channels need 16.67 GiB and fit.memory_gib allows 2; ask for at most 10995 or `auto`, or "
        "raise fit.memory_gib"
    )
    assert "lower fit.num_images, or raise fit.memory_gib" in refusal(
        tmp_path, fit={"num_images": 8, "pixels_per_image": "auto", "memory_gib": 0.01}
    )


def test_an_unknown_layer_is_refused(tmp_path):
    assert refusal(tmp_path, layers=["s7"]).startswith("dataset.segmenter.layers: found 's7'; ")


def iou_per_cut(folder, segmenter):
    """Mean IoU over the four parts of 100 exact masks at four classes, renamed as suits best."""
    data, _ = fit(folder, {"dataset.segmenter": segmenter})
    path = folder / "fit"
    path.write_bytes(data)
    tensors, facts = read_segmenter(path)
    generator = load_generator(GeneratorSpec(kind="shapes"), None, device=CPU)
    latents = LatentSampler(generator, LatentsSpec(seed=9), GeneratorSpec(kind="shapes")).draw(
        range(100)
    )
    tree = read_hierarchy(tensors)
    weights = [tensors[weight_name(name)] for name in facts.layers]
    planes = torch.cat([*weights, tensors["bias"][:, None]], dim=1)
    if tree is not None:
        planes = tree.planes[list(tree.flat_cut(4))]
    features = generator.generate(latents, facts.layers).features
    stack = [
        torch.nn.functional.interpolate(features[n], (32, 32), mode="bilinear", align_corners=True)
        for n in facts.layers
    ]
    logits = torch.einsum("nchw,kc->nkhw", torch.cat(stack, dim=1), planes[:, :-1])
    found = (logits + planes[:, -1, None, None]).argmax(dim=1)
    pairs = torch.bincount((generator.masks(latents) * 4 + found).flatten(), minlength=16)
    both = pairs.view(4, 4).double()
    iou = both / (both.sum(dim=0) + both.sum(dim=1)[:, None] - both)
    return max(float(iou[range(4), order].mean()) for order in permutations(range(4)))


@pytest.mark.parametrize("seed", range(3))
def test_masks_of_the_toy_generator_are_almost_exact_and_better_than_those_of_kmeans(
    tmp_path, seed
):
    fitting = {"num_images": 32, "pixels_per_image": 128, "seed": seed}
    merged = iou_per_cut(tmp_path, KLISH | {"fit": fitting})
    assert merged > 0.9985
    assert merged > iou_per_cut(tmp_path, {"kind": "kmeans", "num_clusters": 4, "fit": fitting})


def test_a_job_is_measured_before_it_is_fitted(tmp_path):
    unfitted = KLISH | {"fit": SMALL_FIT | {"seed": 123}}
    answer = calibrate(small_job(tmp_path, {"dataset.segmenter": unfitted}))
    assert answer["pairs_per_s"] > 0
    assert answer["fit_s"] > 0


@pytest.mark.gpu
def test_a_gpu_gives_one_file_too_and_almost_the_cpu_s_tree(tmp_path):
    dataset = small_job(tmp_path, {"dataset.segmenter": KLISH}).dataset
    device = torch.device("cuda")
    first, second = (
        fit_segmenter(dataset, LocalWeights(None, ""), device=device, on_progress=lambda *_: None)
        for _ in range(2)
    )
    assert first == second
    trees = [read_hierarchy(load(data)) for data in (first, fit(tmp_path)[0])]
    assert trees[0].suggest().num_classes == trees[1].suggest().num_classes
    assert trees[0].sizes[:12].sum() == trees[1].sizes[:12].sum()

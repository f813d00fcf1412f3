from itertools import permutations

import numpy as np
import pytest
import torch
from small_job import Witness, small_job

from factory.errors import JobError
from factory.fit.fitted import fit_segmenter
from factory.fit.klish import choose_pair, fit_klish, merge_clusters, merged_plane
from factory.fit.separation import PENALTY, hinge_loss, measure, separate
from factory.generate.base import load_generator
from factory.generate.latents import LatentSampler
from factory.generate.shapes import ShapesGenerator
from factory.generate.weights import LocalWeights
from factory.job import run_job
from factory.run.calibrate import calibrate
from factory.segment.base import load_segmenter
from factory.segment.cut import finish_segmenter
from factory.segment.hierarchy import read_hierarchy
from factory.segment.linear_head import weight_name
from factory.segment.segmenter_file import read_segmenter
from factory.spec import GeneratorSpec, LatentsSpec

CPU = torch.device("cpu")
SMALL_FIT = {"num_images": 8, "pixels_per_image": 64}
KLISH = {"kind": "klish", "initial_clusters": 12, "cut": 4, "fit": SMALL_FIT}


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


@pytest.mark.parametrize("num_pixels", [300, 20_000])
def test_the_gradient_is_the_one_of_the_formula(num_pixels):
    vectors, ids, planes = mixture(num_pixels)
    classes = torch.arange(4)
    wanted = planes.double().requires_grad_()
    plain_losses(vectors.double(), ids, classes, wanted).sum().backward()
    losses, gradients = hinge_loss(vectors, ids, classes, planes)
    assert torch.allclose(losses, plain_losses(vectors.double(), ids, classes, planes.double()))
    assert torch.allclose(gradients.double(), wanted.grad, rtol=1e-4, atol=1e-2)


def test_the_gradient_is_the_slope_of_the_loss():
    vectors, ids, planes = mixture()
    classes = torch.arange(4)
    torch.manual_seed(9)
    way = torch.randn_like(planes) * 1e-2
    ahead, _ = hinge_loss(vectors, ids, classes, planes + way)
    behind, _ = hinge_loss(vectors, ids, classes, planes - way)
    _, gradients = hinge_loss(vectors, ids, classes, planes)
    slope = 2 * (gradients * way).sum(dim=1).double()
    assert torch.allclose(ahead - behind, slope, rtol=2e-2)


def test_the_search_ends_at_the_least_loss():
    vectors, ids, start = mixture()
    classes = torch.arange(4)
    planes, rounds = separate(vectors, ids, classes, start)
    wanted = start.double().requires_grad_()
    reference = torch.optim.LBFGS([wanted], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        reference.zero_grad()
        loss = plain_losses(vectors.double(), ids, classes, wanted).sum()
        loss.backward()
        return loss

    reference.step(closure)
    least = plain_losses(vectors.double(), ids, classes, wanted).detach()
    found, _ = hinge_loss(vectors, ids, classes, planes)
    assert 0 < rounds < 100
    assert ((found - least) / least).abs().max() < 1e-4


def test_a_search_far_from_the_origin_ends_too():
    vectors, ids, start = mixture()
    losses, _ = hinge_loss(vectors * 30 + 100, ids, torch.arange(4), start)
    planes, _ = separate(vectors * 30 + 100, ids, torch.arange(4), start)
    found, _ = hinge_loss(vectors * 30 + 100, ids, torch.arange(4), planes)
    assert (found < losses).all()
    assert (found < PENALTY).all(), "worse than no plane at all"


def test_one_plane_does_not_depend_on_the_others():
    vectors, ids, start = mixture()
    together, _ = separate(vectors, ids, torch.arange(4), start)
    alone, _ = separate(vectors, ids, torch.tensor([2]), start[2:3])
    first, second = (
        hinge_loss(vectors, ids, torch.tensor([2]), planes)[0] for planes in (together[2:3], alone)
    )
    assert torch.allclose(first, second, rtol=1e-4)


def test_the_two_figures_are_those_of_the_paper():
    vectors, ids, planes = mixture(20_000)
    ious, alike = measure(vectors, ids, planes)
    scores = vectors.numpy() @ planes[:, :-1].numpy().T + planes[:, -1].numpy()
    membership = (np.clip(scores, -1, 1).astype(np.float64) + 1) / 2
    for k in range(4):
        inside, member = scores[:, k] > 0, ids.numpy() == k
        assert float(ious[k]) == pytest.approx((inside & member).sum() / (inside | member).sum())
        for other in range(4):
            a, b = membership[:, k], membership[:, other]
            wanted = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
            assert float(alike[k, other]) == pytest.approx(wanted, rel=1e-5)


def test_a_cluster_without_pixels_or_members_has_figures_of_zero():
    vectors, ids, _ = mixture()
    nowhere = torch.tensor([[0.0, 0, 0, 0, 0, -1]]).repeat(5, 1)
    ious, alike = measure(vectors, ids, nowhere)
    assert not ious.any()
    assert not alike.any()


def test_a_merged_plane_is_the_mean_weighted_by_pixels():
    planes = torch.tensor([[1.0, 0, 4], [9, 9, 9], [5, 2, 0]])
    sizes = torch.tensor([10, 50, 30])
    assert merged_plane(planes, sizes, 0, 2).tolist() == [4.0, 1.5, 1.0]
    assert merged_plane(planes, torch.zeros(3).long(), 0, 2).isfinite().all()


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


def test_blobs_that_overlap_are_merged_before_those_that_do_not():
    places = [[0.0, 0], [1.2, 0], [20, 0], [21.2, 0], [0, 20], [1.2, 20]]
    vectors, centres = blobs(places)
    merged = merge_clusters(vectors, centres, 3)
    assert [len(merged.planes), len(merged.history)] == [3, 3]
    sides = merged.ids.view(3, 800)
    assert all(len(side.unique()) == 1 for side in sides)
    assert len(merged.ids.unique()) == 3
    leaves = merged.history[:, :2].flatten().tolist()
    assert sorted(leaves) == [0, 1, 2, 3, 4, 5], "each pair is merged before any two pairs are"
    assert (merged.history[:, 2] < 0.9).all()
    assert merged.least_iou > 0.99
    scores = vectors @ merged.planes[:, :-1].T + merged.planes[:, -1]
    assert (scores.argmax(dim=1) == merged.ids).float().mean() > 0.99


def test_a_merged_cluster_goes_on_under_a_new_number():
    vectors, centres = blobs([[0.0, 0], [1.0, 0], [2.0, 0], [20, 0]])
    merged = merge_clusters(vectors, centres, 2)
    first, second = merged.history[:, :2].tolist()
    assert 4.0 in second
    assert {*first, *second} - {4.0} <= {0.0, 1.0, 2.0, 3.0}
    assert (merged.history[:, 2:] >= 0).all()
    assert (merged.history[:, 2:] <= 1).all()


def test_a_cluster_without_pixels_is_merged_first():
    vectors, centres = blobs([[0.0, 0], [20, 0], [0, 20]])
    centres = torch.cat([torch.tensor([[500.0, 500]]), centres])
    merged = merge_clusters(vectors, centres, 3)
    assert merged.history[0].tolist()[0] == 3.0, "the last by size"
    assert merged.history[0, 2] == 0
    assert merged.ids.bincount().tolist() == [400, 400, 400]


def test_nothing_is_merged_when_the_clusters_are_as_many_as_the_classes():
    vectors, centres = blobs([[0.0, 0], [20, 0]])
    merged = merge_clusters(vectors, centres, 2)
    assert merged.history.shape == (0, 4)


def fit(folder, overrides=None):
    dataset = small_job(folder, {"dataset.segmenter": dict(KLISH)} | (overrides or {})).dataset
    told = []
    data = fit_segmenter(
        dataset, LocalWeights(None, ""), device=CPU, on_progress=lambda *now: told.append(now)
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
    finally:
        torch.set_num_threads(before)
    assert told == [(4, 16), (8, 16), (12, 16), (16, 16)]
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
    with torch.inference_mode():
        fit_klish(
            dataset.segmenter, dataset, generator, weights_sha256="", on_progress=lambda *_: None
        )
    latents = np.concatenate(generator.seen)
    assert len(latents) == len(np.unique(latents, axis=0)) == 16


def test_the_file_is_a_head_of_all_leaves_with_its_merges(tmp_path):
    data, _ = fit(tmp_path)
    path = tmp_path / "fit"
    path.write_bytes(data)
    tensors, facts = read_segmenter(path)
    assert [label.name for label in facts.labels] == [f"cluster_{k:02d}" for k in range(12)]
    assert facts.kind == "klish"
    assert facts.layers == ["s8", "s16", "s32"]
    tree = read_hierarchy(tensors)
    assert tree.planes.shape == (22, 33)
    assert tensors["bias"].equal(tree.planes[:12, -1])
    assert all(tensors[weight_name(name)].shape[0] == 12 for name in facts.layers)
    assert tree.history.shape == (10, 4)
    assert (tree.margins > 0).all()
    assert int(tree.sizes[:12].sum()) == 512
    for node in range(12, 22):
        assert int(tree.sizes[node]) == sum(int(tree.sizes[leaf]) for leaf in tree.leaves(node))
    numbers = facts.fitted_on
    assert [numbers[name] for name in ("num_images", "num_pixels", "num_channels")] == [16, 512, 32]


def refusal(folder, **settings):
    with pytest.raises(JobError) as caught:
        fit(folder, {"dataset.segmenter": KLISH | settings})
    return str(caught.value)


def test_more_clusters_than_pixels_are_refused(tmp_path):
    few = {"num_images": 2, "pixels_per_image": 3}
    assert refusal(tmp_path, fit=few) == (
        "dataset.segmenter.initial_clusters: found 12, but the fitting pixels hold fewer distinct "
        "vectors; ask for fewer clusters or fit on more images"
    )


def test_an_unknown_layer_is_refused(tmp_path):
    assert refusal(tmp_path, layers=["s7"]).startswith("dataset.segmenter.layers: found 's7'; ")


def score(folder, segmenter):
    """Mean IoU over the four parts of 100 exact masks, after the best renaming of clusters."""
    dataset = small_job(folder, {"dataset.segmenter": segmenter}).dataset
    data, _ = fit(folder, {"dataset.segmenter": segmenter})
    path = folder / "fit"
    path.write_bytes(finish_segmenter(data, dataset.segmenter, source="fit"))
    generator = load_generator(GeneratorSpec(kind="shapes"), None, device=CPU)
    head = load_segmenter(dataset.segmenter, path, generator.facts, CPU)
    latents = LatentSampler(generator, LatentsSpec(seed=9), dataset.generator).draw(range(100))
    found = head.segment(generator.generate(latents, head.layers)).masks.long()
    pairs = torch.bincount((generator.masks(latents) * 4 + found).flatten(), minlength=16)
    both = pairs.view(4, 4).double()
    iou = both / (both.sum(dim=0) + both.sum(dim=1)[:, None] - both)
    return max(float(iou[range(4), order].mean()) for order in permutations(range(4)))


@pytest.mark.parametrize("seed", range(3))
def test_masks_of_the_toy_generator_are_almost_exact_and_better_than_those_of_kmeans(
    tmp_path, seed
):
    fitting = {"num_images": 32, "pixels_per_image": 128, "seed": seed}
    merged = score(tmp_path, KLISH | {"fit": fitting})
    assert merged > 0.9985
    assert merged > score(tmp_path, {"kind": "kmeans", "num_clusters": 4, "fit": fitting})


def test_a_job_runs_to_its_end(tmp_path):
    unfitted = KLISH | {"fit": SMALL_FIT | {"seed": 77}}
    spec = small_job(tmp_path, {"dataset.segmenter": unfitted})
    witness = Witness()
    manifest = run_job(spec, witness)
    assert witness.fitted[-1] == (16, 16)
    assert [label.name for label in manifest.meaning.labels][-1] == "cluster_03"
    assert manifest.num_samples == 10
    totals = np.sum([record.class_px for record in manifest.records], axis=0)
    assert totals.sum() == 10 * 32 * 32
    assert (totals > 0).all()
    tensors, _ = read_segmenter(tmp_path / "out" / "segmenter.safetensors")
    assert len(read_hierarchy(tensors).history) == 10


def test_a_job_is_measured_before_it_is_fitted(tmp_path):
    unfitted = KLISH | {"fit": SMALL_FIT | {"seed": 123}}
    answer = calibrate(small_job(tmp_path, {"dataset.segmenter": unfitted}))
    assert answer["pairs_per_s"] > 0
    assert answer["fit_s"] > 0

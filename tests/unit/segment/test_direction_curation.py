"""Masks, parts, areas and histograms against numbers of the authors' own code; and our defaults."""

from pathlib import Path

import numpy as np
import pytest
import torch
from foreground_scores import (
    accuracies,
    best_f,
    f_measures,
    foreground_ious,
    precision_and_recall,
)

from factory.segment.direction.components import keep_large, number_parts
from factory.segment.direction.curation import (
    area_share,
    count_bins,
    count_maxima,
    grey,
    has_area,
    has_two_modes,
    is_round,
    overlap,
    smooth_bins,
)

CASES = Path(__file__).parents[2] / "golden" / "direction"


def read(name):
    with np.load(CASES / f"{name}.npz") as case:
        return {key: torch.from_numpy(case[key]) for key in case.files}


@pytest.mark.parametrize("over", [0.2, 0.5])
def test_small_parts_go_as_the_authors_let_them_go(over):
    case = read("direction_curation")
    kept = keep_large(case["masks"].bool(), over)
    assert torch.equal(kept, case[f"components_kept_over_{over}"].bool())


def test_parts_are_counted_with_eight_neighbours():
    case = read("direction_curation")
    parts = number_parts(case["masks"].bool())
    counts = [len(one[one >= 0].unique()) for one in parts]
    assert counts == case["component_count_before"].tolist()


def test_area_roundness_and_overlap_decide_as_the_authors_do():
    case = read("direction_curation")
    masks = case["masks"].bool()
    kept = keep_large(masks, 0.2)
    torch.testing.assert_close(area_share(kept), case["area_fraction"])
    assert torch.equal(has_area(kept, 0.0, 0.5), case["area_0_to_half"])
    ran = case["roundness_over_0.03"] >= 0
    assert torch.equal(is_round(masks, 0.03)[ran], case["roundness_over_0.03"][ran].bool())
    agree = overlap(masks, masks.roll(-1, 0)) >= 0.9
    assert torch.equal(agree, case["overlap_with_next_over_0.9"])


def test_histograms_and_their_maxima_are_the_authors():
    case = read("direction_histogram")
    images = case["images"].float()
    counts = count_bins(images)
    assert (counts - case["counts"]).abs().max() <= 1
    smoothed = smooth_bins(counts)
    assert (smoothed - case["smoothed"]).abs().max() <= 3
    assert torch.equal(count_maxima(smoothed), case["maxima"])
    assert torch.equal(has_two_modes(images, plateaus=True), case["accepted"])


def test_masks_and_acceptance_are_the_authors():
    case = read("direction_masks")
    images = {name: case[name].float() for name in ("image", "image_light", "image_dark")}
    bright = {name: grey(one) for name, one in images.items()}
    raw = {
        "mask_light": bright["image_light"] - bright["image"],
        "mask_dark": bright["image"] - bright["image_dark"],
        "mask": bright["image_light"] - bright["image_dark"],
    }
    for name, change in raw.items():
        sure = change.abs() >= 1e-6
        assert torch.equal((change > 0)[sure], case[f"{name}_raw"].bool()[sure])
        assert torch.equal(keep_large(change > 0, 0.2), case[name].bool())
    kept = {}
    for sign in ("light", "dark"):
        kept[sign] = has_area(case[f"mask_{sign}"].bool(), 0.0, 0.5)
        assert torch.equal(kept[sign], case[f"area_{sign}"])
        modes = has_two_modes(images[f"image_{sign}"], plateaus=True)
        assert torch.equal(modes, case[f"histogram_{sign}"])
        kept[sign] &= modes
    assert torch.equal(kept["light"], case["accepted_light_only"])
    assert torch.equal(kept["light"] & kept["dark"], case["accepted_dual"])


def test_the_scores_of_a_benchmark_are_the_authors():
    case = {name: one.numpy() for name, one in read("direction_scores").items()}
    truth = case["truth"] == 1
    probability = torch.from_numpy(case["logits"]).softmax(dim=1)[:, 1].numpy()
    found = probability > 0.5
    precision, recall = precision_and_recall(found, truth)
    assert accuracies(found, truth) == pytest.approx(case["acc"], abs=1e-6)
    assert foreground_ious(found, truth) == pytest.approx(case["iou"], abs=1e-6)
    assert precision == pytest.approx(case["precision_at_half"][:, 0], abs=1e-6)
    assert recall == pytest.approx(case["recall_at_half"][:, 0], abs=1e-6)
    assert f_measures(precision, recall).mean() == pytest.approx(float(case["f_beta"]), abs=1e-6)
    assert best_f(probability, truth) == pytest.approx(float(case["f_max"]), abs=1e-6)


def flooded(mask):
    """Parts found one pixel after the other, numbered in reading order."""
    numbers = -np.ones(mask.shape, dtype=np.int64)
    count = 0
    for start in zip(*np.nonzero(mask), strict=True):
        if numbers[start] >= 0:
            continue
        waiting = [start]
        numbers[start] = count
        while waiting:
            y, x = waiting.pop()
            for v in range(max(y - 1, 0), min(y + 2, len(mask))):
                for u in range(max(x - 1, 0), min(x + 2, len(mask[0]))):
                    if mask[v, u] and numbers[v, u] < 0:
                        numbers[v, u] = count
                        waiting.append((v, u))
        count += 1
    return numbers


def spiral(side):
    """One line of one pixel's width, as long as fits."""
    mask = np.zeros((side, side), dtype=bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[0, 0] = True
    for length in [side - 1, *np.repeat(np.arange(side - 1, 1, -2), 2)]:
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask


def test_parts_of_any_shape_are_those_of_a_flood():
    rng = np.random.default_rng(3)
    masks = [rng.random((33, 33)) < density for density in (0.1, 0.3, 0.4, 0.5, 0.7)]
    masks += [spiral(33), spiral(33)[::-1], ~spiral(33), np.zeros((33, 33), bool)]
    found = number_parts(torch.from_numpy(np.stack(masks))).numpy()
    for mask, numbers in zip(masks, found, strict=True):
        _, ours = np.unique(numbers[mask], return_inverse=True)
        assert (numbers[~mask] == -1).all()
        assert ours.tolist() == flooded(mask)[mask].tolist()


def test_an_image_of_one_colour_has_two_modes_for_the_authors_alone():
    one_colour = torch.zeros(1, 3, 16, 16)
    light_on_dark = torch.where(torch.arange(16) < 6, 0.7, -0.6).expand(1, 3, 16, 16)
    assert has_two_modes(one_colour, plateaus=True).item()
    assert not has_two_modes(one_colour).item()
    assert has_two_modes(light_on_dark).item()


def test_an_image_whose_values_are_all_outside_has_no_two_modes():
    assert not has_two_modes(torch.full((1, 3, 8, 8), 3.0)).item()

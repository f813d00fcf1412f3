"""Sampling for a layout and editing one, against numbers that the authors' own code made."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.data import LatentBatch
from factory.edit.descent import descend
from factory.edit.objective import Pull, count_agreeing
from factory.edit.strokes import layout_of_edit
from factory.edit.wish import ColourWish, Wish, resize
from factory.fit.lse import LinearLayers
from factory.generate.base import load_generator
from factory.spec import GeneratorSpec

GOLDEN = Path(__file__).parents[2] / "golden"
SAMPLING = ["scs_one_z", "scs_z_per_layer"]
EDITING = ["sie_label", "sie_colour"]
PULL = Pull()


@dataclass
class Head:
    """An extractor of Linear Semantics; the protocol is `DifferentiableSegmenter`."""

    layers: tuple[str, ...]
    weights: LinearLayers

    def class_scores(self, features, side):
        return self.weights.logits(tuple(features[name] for name in self.layers), (side, side))


class Case:
    """One reference case: its numbers, its generator and its head."""

    def __init__(self, name, folder):
        self.said = json.loads((GOLDEN / "layout" / f"{name}.json").read_text())
        with np.load(GOLDEN / "layout" / f"{name}.npz") as arrays:
            self.arrays = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        weights = folder / f"{name}.safetensors"
        tensors = load_file((GOLDEN / "layout" / self.said["weights"]).resolve())
        save_file(tensors, weights, {"kwargs": json.dumps(self.said["init_kwargs"])})
        spec = GeneratorSpec(kind="stylegan2", noise=self.said["noise_mode"])
        cpu = torch.device("cpu")
        self.generator = load_generator(spec, weights, device=cpu)
        layers = tuple(self.said["features"])
        blocks = [self[f"state/extractor.{i}.weight"][:, :, 0, 0] for i in range(len(layers))]
        head = LinearLayers(
            blocks, self["state/layer_weight"], torch.zeros(len(blocks[0])), self.said["lw_type"]
        )
        self.head = Head(layers, head)
        self.rate = float(re.search(r"lr ([0-9.]+)", self.said["optimiser"])[1])
        self.steps = self.said["iterations"]

    def __getitem__(self, key):
        return self.arrays[key]

    def batch(self, z):
        """A batch of latents with the truncation of the case."""
        return LatentBatch(
            indices=np.arange(len(z)),
            z=z[:, 0].numpy(),
            class_labels=np.full(len(z), -1),
            truncation_psi=self.said.get("truncation_psi", 1.0),
            truncation_cutoff=None,
            noise_seed=None,
        )

    def wish(self, z, key="target"):
        layouts = self[key].long().expand(len(z), -1, -1)
        return Wish(self.generator, self.head, self.batch(z), layouts)

    def styles(self, z):
        latents = self.batch(z)
        return self.generator._styles_of(z, latents)


def check_first(terms, z, case):
    """The terms and the slope at the start."""
    (slope,) = torch.autograd.grad(terms.total.sum(), [z])
    wanted = case["grad_at_z0"]
    atol = 1e-3 * float(wanted.abs().max())
    torch.testing.assert_close(slope[0], wanted, atol=atol, rtol=0)
    found = torch.stack([*terms.fit, terms.stay, terms.prior])[:, 0].detach()
    torch.testing.assert_close(found, case["terms_first"], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", SAMPLING)
def test_candidates_have_the_scores_of_the_authors(name, tmp_path):
    case = Case(name, tmp_path)
    z = case["candidates_z"][:, None]
    with torch.inference_mode():
        wish = case.wish(z)
        scores = count_agreeing(wish.scores(z).argmax(dim=1), wish.layouts)
    assert (scores - case["candidate_scores"]).abs().max() <= 2
    assert int(scores.argmax()) == int(case["best"])
    rows = len(case["z0"])
    assert torch.equal(case["candidates_z"][int(case["best"])].expand(rows, -1), case["z0"])


@pytest.mark.parametrize("name", SAMPLING)
def test_terms_slope_and_scores_at_the_start_are_the_authors(name, tmp_path):
    case = Case(name, tmp_path)
    z = case["z0"][None].clone().requires_grad_()
    wish = case.wish(z.detach())
    check_first(wish.loss(z, z.detach(), PULL), z, case)
    torch.testing.assert_close(
        wish.scores(z).detach(), case["logits_at_z0"].float(), atol=5e-3, rtol=5e-3
    )


@pytest.mark.parametrize("name", SAMPLING)
def test_losses_and_latents_of_every_step_are_the_authors(name, tmp_path):
    case = Case(name, tmp_path)
    start = case["z0"][None]
    wish = case.wish(start)
    seen = []

    def loss_of(z):
        seen.append((z.detach().clone(), wish.loss(z, start, PULL)))
        return seen[-1][1].total

    found = descend(loss_of, start, steps=case.steps, learning_rate=case.rate)
    torch.testing.assert_close(found.losses[:, 0], case["loss_trace"], rtol=2e-3, atol=0)
    traced = torch.stack([seen[step][0][0] for step in case["z_trace_steps"]])
    torch.testing.assert_close(traced, case["z_trace"], atol=2e-3, rtol=0)
    last = seen[-1][1]
    terms = torch.stack([*last.fit, last.stay, last.prior])[:, 0].detach()
    torch.testing.assert_close(terms, case["terms_last"], rtol=2e-3, atol=1e-6)
    # The authors give one z after the last step, rows of z before it, and styles always before it.
    returned = found.after if len(case["z0"]) == 1 else found.before
    torch.testing.assert_close(returned[0], case["returned_z"], atol=2e-3, rtol=0)
    torch.testing.assert_close(case.styles(found.before), case["returned_wp"], atol=5e-3, rtol=5e-3)
    again = wish.descend(start, steps=case.steps, learning_rate=case.rate, pull=PULL)
    assert torch.equal(again.after, found.after)


@pytest.mark.parametrize("name", EDITING)
def test_what_is_edited_is_the_authors(name, tmp_path):
    case = Case(name, tmp_path)
    start = case["z0"][None]
    if name == "sie_label":
        wish = case.wish(start)
    else:
        is_painted = case["stroke_mask"].float()
        wish = ColourWish(case.generator, case.batch(start), case["target"].float(), is_painted)
    z = start.clone().requires_grad_()
    check_first(wish.loss(z, start, PULL), z, case)
    first = descend(
        lambda z: wish.loss(z, start, PULL).total, start, steps=1, learning_rate=case.rate
    )
    torch.testing.assert_close(first.after[0], case["z_after_1_step"], atol=2e-3, rtol=0)
    found = descend(
        lambda z: wish.loss(z, start, PULL).total, start, steps=case.steps, learning_rate=case.rate
    )
    torch.testing.assert_close(found.losses[:, 0], case["loss_trace"], rtol=2e-3, atol=0)
    torch.testing.assert_close(found.after[0], case["returned_z"], atol=5e-3, rtol=0)
    with torch.inference_mode():
        before, after = (
            case.generator.render(z, case.batch(start), ()) for z in (start, found.after)
        )
        side = case.said["mask_size"]
        same = {"atol": 5e-3, "rtol": 5e-3}
        torch.testing.assert_close(
            resize(before.colours, side), case["image_before"].float(), **same
        )
        torch.testing.assert_close(after.colours, case["image_after"].float(), atol=2e-2, rtol=2e-2)
        labels = case.wish(start, "label_after").scores(found.after).argmax(dim=1)
        assert (labels == case["label_after"]).float().mean() >= 0.99


def test_the_target_of_an_edit_is_what_is_there_under_what_was_painted(tmp_path):
    case = Case("sie_label", tmp_path)
    start = case["z0"][None]
    with torch.inference_mode():
        now = case.wish(start, "label_before").scores(start).argmax(dim=1)
    assert (now == case["label_before"]).float().mean() >= 0.999
    painted = torch.where(case["stroke_mask"] > 0, case.said["stroke_class"], 255)
    wanted = layout_of_edit(case["label_before"], painted.to(torch.uint8))
    assert torch.equal(wanted, case["target"].long())

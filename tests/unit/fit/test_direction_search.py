"""The search for a direction: the authors' steps, checkpoints, and how a collapse is noticed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from fit_context import CPU

from factory.errors import Interrupted, JobError
from factory.fit.context import Checkpoint
from factory.fit.direction.collapse import CollapseWatch
from factory.fit.direction.loss import DirectionLoss
from factory.fit.direction.search import FIGURES, Direction, Draw, Search, draw_radius
from factory.fit.progress import Progress
from factory.store import LocalStore

CASES = Path(__file__).parents[2] / "golden" / "direction"


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_thirty_steps_are_the_authors_in_however_many_parts_a_batch_is_made(parts):
    with np.load(CASES / "direction_search_light.npz") as arrays:
        case = {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    def generate(z):
        hidden = torch.tanh(z @ case["W1"])
        return torch.tanh(hidden @ case["W2"] + case["bias"]).view(len(z), 3, 16, 16)

    search = Direction(DirectionLoss(2.0, 10.0), case["d_initial"][0], 5e-3)
    found, terms = [], []
    for z, noise in zip(case["z"], case["noise_for_radius"], strict=True):
        radius = draw_radius(noise, 2.0, 0.5, 0.1)
        draws = [
            Draw(generate(own), r, lambda shift, own=own: generate(own + shift))
            for own, r in zip(z.chunk(parts), radius.chunk(parts), strict=True)
        ]
        gradient, figures = search.gradient(draws)
        search.step(gradient)
        found.append(search.unit)
        terms.append([*figures[:2].tolist(), float(figures[:2].sum())])
    at = torch.stack(found)[case["direction_steps"]]
    torch.testing.assert_close(at, case["direction"], atol=1e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(terms), case["terms"], atol=0, rtol=1e-4)


def test_lengths_of_shifts_have_a_minimum():
    noise = torch.tensor([[-10.0, 0.0, 1.0]])
    assert draw_radius(noise, 2.0, 0.5, 0.1).tolist() == [[pytest.approx(0.1), 2.0, 2.5]]


SIDE = 12
TEACH = torch.randn(6, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(4))


def lively(z, shift):
    """Images that a shift changes, a little bit of everything."""
    return torch.tanh((z + shift) @ TEACH * 0.5).view(len(z), 3, SIDE, SIDE)


def deaf(z, shift):
    """Images that do not change."""
    return lively(z, shift * 1e-6)


def flooding(z, shift):
    """Images that a shift fills with one colour, wherever it leads."""
    far = shift.square().sum(dim=1)[:, None, None, None]
    return torch.where(far > 0, 0.02, 1.0) * lively(z, shift * 0) + far.clamp(max=1) * 0.2


def brightening(z, shift):
    """Images that become lighter everywhere, wherever a shift leads."""
    return lively(z, shift * 0) + 0.1 * shift.abs().sum(dim=1)[:, None, None, None]


def draws_from(generate, images=8):
    def draws_of(step):
        rng = torch.Generator().manual_seed(step)
        z, noise = (torch.randn(images, 6, generator=rng) for _ in range(2))
        radius = draw_radius(noise, 2.0, 0.5, 0.1)
        yield Draw(generate(z, torch.zeros_like(z)), radius, lambda shift: generate(z, shift))

    return draws_of


def new_search(steps=40, signs=("light", "dark")):
    first = 0.1 * torch.randn(6, generator=torch.Generator().manual_seed(9))
    weights = {"light": 2.0, "dark": -2.0}
    directions = {
        sign: Direction(DirectionLoss(weights[sign], 10.0), first.clone(), 5e-3) for sign in signs
    }
    return Search(directions, steps)


def checkpoint_in(folder):
    return Checkpoint(LocalStore(str(folder)), "it")


def run(search, folder, generate=lively, progress=None):
    search.run(draws_from(generate), checkpoint_in(folder), progress or Progress(lambda *_: None))
    return search


def test_a_search_makes_its_loss_smaller(tmp_path):
    search = run(new_search(120), tmp_path)
    for curve in search.curves.values():
        total = curve[:, :2].sum(dim=1)
        assert total[-40:].mean() < total[:40].mean()
    for one in search.directions.values():
        assert float(one.unit.norm()) == pytest.approx(1, abs=1e-6)


class Stopping(Checkpoint):
    """A checkpoint that is written at every step, after which the search is asked to stop."""

    def __init__(self, store, name, stop, at):
        super().__init__(store, name)
        self._stop, self._at = stop, at

    def save(self, tensors, *, now=False):
        super().save(tensors, now=True)
        if int(tensors["done"]) == self._at:
            self._stop.set()


@pytest.mark.parametrize("at", [1, 39])
def test_a_search_that_was_stopped_goes_on_to_the_same_bits(tmp_path, at):
    whole = run(new_search(), tmp_path / "whole")
    progress = Progress(lambda *_: None)
    stopping = Stopping(LocalStore(str(tmp_path / "cut")), "it", progress.stop, at)
    with pytest.raises(Interrupted):
        new_search().run(draws_from(lively), stopping, progress)
    seen = []
    told = Progress(lambda stage, done, total, left: seen.append((stage, done, total)))
    resumed = run(new_search(), tmp_path / "cut", progress=told)
    assert seen[0] == ("searching", at, 40)
    for sign, one in whole.directions.items():
        assert torch.equal(one.unit, resumed.directions[sign].unit)
        assert torch.equal(whole.curves[sign], resumed.curves[sign])


def test_a_checkpoint_of_another_search_is_as_good_as_none(tmp_path):
    run(new_search(signs=("light",)), tmp_path)
    other = run(new_search(), tmp_path)
    assert torch.equal(other.curves["dark"], run(new_search(), tmp_path / "new").curves["dark"])


@pytest.mark.parametrize(
    ("generate", "words"),
    [
        (deaf, "change brightness by .*raise radius"),
        (flooding, "one colour; lower radius"),
        (brightening, "100.0% of all pixels foreground; raise edge_weight"),
    ],
)
@pytest.mark.parametrize("steps", [10, 100, 300])
def test_a_collapse_is_noticed_within_a_tenth_of_the_steps_and_says_what_helps(
    tmp_path, generate, words, steps
):
    search = new_search(steps, signs=("light",))
    with pytest.raises(JobError, match=words):
        run(search, tmp_path, generate)
    assert search.done <= steps / 10


def test_a_collapse_in_the_last_step_is_no_result_when_the_fit_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.fit.context._EVERY_S", -1.0)
    calls = []

    def dying(z, shift):
        calls.append(shift)  # two calls a step: without a shift and with it
        return deaf(z, shift) if len(calls) > 2 * 19 else lively(z, shift)

    for _ in range(2):
        with pytest.raises(JobError, match="collapsed by step 20"):
            run(new_search(20, signs=("light",)), tmp_path, dying)


def test_a_direction_that_is_no_number_is_an_error_and_not_a_file(tmp_path):
    with pytest.raises(JobError, match="no number after step 1; lower learning_rate"):
        run(new_search(), tmp_path, lambda z, shift: lively(z, shift) * torch.inf)


def test_the_figures_of_a_step_are_what_they_are_called(tmp_path):
    search = run(new_search(20), tmp_path)
    figures = dict(zip(FIGURES, search.curves["light"][-1].tolist(), strict=True))
    assert 0 < figures["share"] < 1
    assert figures["edges"] > 0
    assert figures["change"] > 0
    assert search.directions["light"].entries.device == CPU


@pytest.mark.parametrize("num_steps", [10, 60, 300, 999])
def test_a_first_direction_that_looks_collapsed_for_a_moment_is_given_time(num_steps):
    curve = torch.tensor([[0.1, 0.1, 0.0, 0.0, 0.0], [0.1, 0.1, 1.0, 0.2, 0.5]])
    lasting = max(1, num_steps // 20)
    watch = CollapseWatch("light", num_steps)
    watch.check(curve[:1].expand(lasting - 1, -1))
    watch.check(torch.cat([curve[:1].expand(lasting - 1, -1), curve[1:]]))
    with pytest.raises(JobError, match=f"collapsed by step {lasting + 1}"):
        watch.check(torch.cat([curve[1:], curve[:1].expand(lasting, -1)]))

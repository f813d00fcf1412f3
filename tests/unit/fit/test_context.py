"""A fit's checkpoint saves time and is never needed; its file says what was fitted on what."""

import dataclasses

import torch
from fit_context import make_context

from factory.errors import StoreError
from factory.fit import context as module
from factory.fit.context import Checkpoint, median_of
from factory.fit.pixels.sampling import NUM_PARTS, Sampling
from factory.fit.progress import Progress
from factory.segment.palette import unnamed_labels
from factory.segment.segmenter_file import decode_segmenter
from factory.store import LocalStore


def test_what_was_saved_is_loaded_by_the_same_fit_only(tmp_path):
    store = LocalStore(str(tmp_path))
    saved = Checkpoint(store, "one")
    assert saved.load() == {}
    saved.save({"x": torch.arange(3)}, now=True)
    assert Checkpoint(store, "one").load()["x"].tolist() == [0, 1, 2]
    assert Checkpoint(store, "other").load() == {}
    saved.remove()
    assert saved.load() == {}
    saved.remove()


def test_it_is_saved_every_ten_seconds_unless_it_matters_now(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    saved = Checkpoint(LocalStore(str(tmp_path)), "one")
    saved.save({"x": torch.tensor(1)})
    assert saved.load() == {}
    now[0] += 10.1
    saved.save({"x": torch.tensor(2)})
    saved.save({"x": torch.tensor(3)})
    assert saved.load()["x"] == 2
    saved.save({"x": torch.tensor(4)}, now=True)
    assert saved.load()["x"] == 4


def test_a_file_that_is_no_checkpoint_counts_as_none(tmp_path):
    (tmp_path / "one").write_bytes(b"garbage")
    assert Checkpoint(LocalStore(str(tmp_path)), "one").load() == {}


class FullStore(LocalStore):
    """A store on a full disk."""

    def replace(self, path, data):
        raise StoreError("no space left on device")

    def read(self, path):
        raise StoreError("input/output error")


def test_a_full_disk_does_not_end_a_fit(tmp_path):
    saved = Checkpoint(FullStore(str(tmp_path)), "one")
    saved.save({"x": torch.tensor(1)}, now=True)
    assert saved.load() == {}


def test_the_segmenter_file_says_what_it_was_fitted_for(tmp_path):
    context = make_context(tmp_path)
    data = context.encode(
        {"bias": torch.zeros(2)},
        layers=("s16",),
        labels=unnamed_labels(2),
        fitted_on={"num_images": 8},
        margin_scale=2.5,
    )
    tensors, facts = decode_segmenter(data, source="f")
    assert tensors["bias"].tolist() == [0, 0]
    assert (facts.kind, facts.generator_kind, facts.layers) == ("kmeans", "shapes", ["s16"])
    assert (facts.margin_scale, facts.fitted_on) == (2.5, {"num_images": 8})


def test_all_parts_are_filled_and_progress_counts_the_images(tmp_path):
    stages = []
    told = Progress(lambda stage, done, total, _: stages.append((stage, done, total)))
    context = dataclasses.replace(make_context(tmp_path), progress=told)
    width = context.generator.facts.layers["s16"].channels
    sampling = Sampling(("s16",), (width,), num_images=7, pixels_per_image=5, seed=0)
    context.sample(sampling, "sampling")
    assert stages[0] == ("sampling", 0, 7)
    assert stages[-1] == ("sampling", 7, 7)
    assert len(context.pool.parts) == NUM_PARTS
    assert sum(len(part._vectors) for part in context.pool.parts) == 7 * 5


def test_the_median_is_that_of_all_answers_together():
    assert median_of([torch.tensor([1.0, 9.0]), torch.tensor([2.0])]) == 2.0

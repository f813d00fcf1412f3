"""A maker of the small job's shards with exact masks: nothing is fitted, nothing is mocked."""

from dataclasses import replace

import torch
from small_job import small_job

from factory.data import Steering
from factory.generate.base import load_generator
from factory.make.threads import ThreadCounts
from factory.pack.tar import read_members
from factory.plan.rounds import make_plan
from factory.segment.base import load_segmenter
from factory.shard import ShardMaker
from factory.store import open_store

CPU = torch.device("cpu")
PARTS = {"kind": "plugins.mixing_plugins:Parts"}
"""Exact masks: ground, square, disc and core; nothing to fit."""


def a_maker(folder, kind="Neighbourly", compute=1, encode=0, **overrides):
    """A maker of the small job with exact masks, and its tasks."""
    sections = {"generator": {"kind": f"plugins.batches:{kind}"}, "segmenter": PARTS} | overrides
    spec = small_job(folder, {f"dataset.{name}": value for name, value in sections.items()})
    generator = load_generator(spec.dataset.generator, None, device=CPU)
    segmenter = load_segmenter(spec.dataset.segmenter, None, generator.facts, CPU)
    maker = ShardMaker(
        spec.dataset,
        generator,
        segmenter,
        open_store(spec.output.uri),
        device=CPU,
        threads=ThreadCounts(compute, encode),
        run_id="some-run",
    )
    return maker, make_plan(spec, {"a": 1}).tasks()


def files_in(folder, task):
    """The files in a task's shard by name."""
    return dict(read_members(folder / f"out/data/train/{task.name}.tar"))


def kept_in(folder, task):
    """Indices of the samples in a task's shard."""
    return [int(name[:9]) for name in files_in(folder, task) if name.endswith(".json")]


def steered(task, **steering):
    """The same task in a round for a target."""
    return replace(task, steering=Steering(goal="square", **steering))

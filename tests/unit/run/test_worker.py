"""How a worker's process is set up, and what it builds from its configuration."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from small_job import EXACT_PARTS, small_job, worker_config
from small_label import fitted_tree

from factory.dataset.state import find_labels
from factory.errors import JobError, PluginError, WeightsError
from factory.job import run_job
from factory.run import devices, worker
from factory.run.calibrate import calibrate
from factory.run.worker import (
    build_maker,
    claim_device,
    device_here,
    device_of,
    load_configured_generator,
)
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter
from factory.segment.tree.evidence import Evidence
from factory.segment.tree.hierarchy import HISTORY_NAME, read_hierarchy
from factory.spec import RunSpec
from factory.store import open_store


def config_of(folder, overrides=None, **changes):
    spec = small_job(folder, {"dataset.segmenter": EXACT_PARTS} | (overrides or {}))
    return dataclasses.replace(worker_config(spec), **changes)


@pytest.mark.slow
def test_a_worker_computes_every_operation_on_one_thread_whatever_the_machine_says():
    code = (
        "import torch; torch.set_num_threads(3); before = torch.get_num_threads()\n"
        "from factory.run.worker import configure_process\n"
        "configure_process(); one = torch.get_num_threads()\n"
        "configure_process(2); print(before, one, torch.get_num_threads())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["3", "1", "2"]


@pytest.mark.parametrize(("share", "kind"), [(0, "cpu"), (0.5, "cuda"), (1, "cuda")])
def test_a_worker_with_a_share_of_a_gpu_computes_there(share, kind):
    assert device_of(RunSpec(gpus_per_actor=share)).type == kind


@pytest.mark.parametrize("chosen", [claim_device, device_here])
def test_a_gpu_that_this_machine_lacks_is_told_and_no_traceback(chosen):
    with pytest.raises(PluginError, match=r"run\.gpus_per_actor: this machine has no GPU that"):
        chosen(RunSpec(gpus_per_actor=0.5))


def test_a_driver_without_a_gpu_computes_on_its_cpu_where_a_cluster_has_the_gpus():
    cluster = RunSpec(gpus_per_actor=1, address="auto")
    assert device_here(cluster).type == "cpu"
    with pytest.raises(PluginError):
        claim_device(cluster)  # a worker would make other bytes there


def test_other_weights_than_the_driver_s_are_refused_with_both_digests(tmp_path):
    with pytest.raises(WeightsError) as caught:
        load_configured_generator(config_of(tmp_path, weights_sha256="f" * 64), torch.device("cpu"))
    assert str(caught.value) == (
        "dataset.generator.weights: this worker has sha256 , the driver ffffffffffffffff; put the "
        "same file on every machine"
    )


def test_the_folders_where_the_driver_finds_plugins_are_searched_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    place = str(tmp_path / "plugins")
    for _ in range(2):
        load_configured_generator(
            config_of(tmp_path, import_paths=(place, place)), torch.device("cpu")
        )
    assert sys.path.count(place) == 1


def workers_of(maker):
    """Threads that compute (one, if it is the caller's) and that encode."""
    pools = maker._pools
    return getattr(pools.compute, "_max_workers", 1), getattr(pools.encode, "_max_workers", 0)


@pytest.mark.parametrize(
    ("encode_threads", "lanes", "workers", "found"),
    [("auto", 1, 1, (1, 5)), ("auto", 2, 3, (2, 0)), ("auto", 1, 9, (1, 0)), (0, 3, 1, (3, 0)),
     (5, 2, 4, (2, 5))],
)  # fmt: skip
def test_threads_are_those_the_job_asks_for(
    tmp_path, monkeypatch, encode_threads, lanes, workers, found
):
    monkeypatch.setattr(devices, "num_cores_here", lambda: 6)
    monkeypatch.setattr(worker, "LEAST_PX", 1)
    run = RunSpec(executor="inline", threads_per_actor=lanes, encode_threads=encode_threads)
    config = config_of(tmp_path, run=run, workers_per_machine=workers)
    assert workers_of(build_maker(config)) == found


@pytest.mark.parametrize(("encode_threads", "found"), [("auto", 0), (2, 2)])
def test_a_small_batch_is_encoded_by_the_thread_that_computed_it(
    tmp_path, monkeypatch, encode_threads, found
):
    monkeypatch.setattr(devices, "num_cores_here", lambda: 6)
    run = RunSpec(executor="inline", encode_threads=encode_threads)
    assert workers_of(build_maker(config_of(tmp_path, run=run))) == (1, found)


def test_the_label_table_is_written_before_the_first_shard(tmp_path):
    build_maker(config_of(tmp_path))
    labels = find_labels(open_store(str(tmp_path / "out"))).labels
    assert [label.name for label in labels] == ["ground", "square", "disc", "core"]


def test_a_target_that_names_no_class_ends_the_run_before_anything_is_written(tmp_path):
    coverage = {"min_samples": {"sqare": 3}, "budget": 9}
    with pytest.raises(JobError, match=r"min_samples\.sqare: no such class"):
        build_maker(config_of(tmp_path, {"dataset.coverage": coverage}))
    assert not (tmp_path / "out").exists()


def test_a_worker_writes_down_what_is_doubtful_about_the_classes_and_the_card_tells_it(tmp_path):
    (tmp_path / "tree.safetensors").write_bytes(lopsided_tree())
    section = {"kind": "klish", "cut": 2, "fitted": str(tmp_path / "tree.safetensors")}
    with torch.inference_mode():
        told = calibrate(small_job(tmp_path, {"dataset.segmenter": section}))
    run_job(small_job(tmp_path, {"dataset.segmenter": section}))
    store = open_store(str(tmp_path / "out"))
    doubts = find_labels(store).doubts
    words = (
        "flickers",
        "holds 100.0%",
        "holds none",
        "mixes",
    )  # all ranked pixels go to the first class
    kinds = [next(word for word in words if word in line) for line in doubts]
    assert sorted(kinds) == list(words)
    assert told["warnings"] == doubts, "a plan says the same before anything is made"
    card = store.read("README.md").decode()
    assert all(f"- {doubt}" in card.replace("\\_", "_") for doubt in doubts)


def lopsided_tree():
    """The kept toy tree with evidence: its last node is not found again in other images, and most
    pixels of a part of the first of two classes would go to the second."""
    tensors, facts = decode_segmenter(fitted_tree(), source="t")
    count = len(tensors[HISTORY_NAME]) + 2
    stability = torch.ones(2 * count - 2)
    stability[-1] = 0.3
    images = torch.ones(count, 200, dtype=torch.bool)
    tree = read_hierarchy(tensors)
    (part, sibling), (other, _) = (tree.children(node) or (node, node) for node in tree.flat_cut(2))
    ranks = torch.full((120, tree.num_nodes), 9, dtype=torch.uint8)
    ranks[:60, part], ranks[:60, other] = 0, 1
    ranks[60:, sibling], ranks[60:, part] = 0, 1
    evidence = Evidence(torch.ones(count - 2), torch.ones(count - 1), images, stability, ranks)
    return encode_segmenter(tensors | evidence.tensors(), facts)

import csv
import logging
import subprocess
import sys
import threading
import warnings

import numpy as np
import onnxruntime
import pytest
import torch
import yaml
from small_job import make_small
from typer.testing import CliRunner

import factory
from factory.cli.app import app
from factory.downstream.network import make_network
from factory.downstream.package import read_facts_of
from factory.downstream.pairs import open_pairs, scored_batches, training_batches
from factory.downstream.pictures import find_pictures
from factory.downstream.settings import NetworkSettings
from factory.downstream.training import LOG_NAME, STATE_NAME, NetworkTraining
from factory.errors import Interrupted, JobError, PluginError, StoreError
from factory.evaluate.reference_network import load_network
from factory.export.examples import open_export
from factory.export.formats import FORMATS
from factory.store import open_store

pytestmark = pytest.mark.slow

SETTINGS = NetworkSettings(steps=6, batch_size=4, every=2)


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained_on")
    make_small(
        folder,
        {
            "dataset.num_samples": 60,
            "dataset.samples_per_shard": 5,
            "dataset.segmenter.num_clusters": 3,
            "dataset.splits": {"train": 0.8, "val": 0.1, "test": 0.1},
        },
    )
    return folder / "out"


def training(divided, folder, settings=SETTINGS):
    folder.mkdir(exist_ok=True)
    train, val = (factory.open_dataset(divided, split=split) for split in ("train", "val"))
    return NetworkTraining(train, val, folder, settings)


def run(one, stop_after=None):
    stop = threading.Event()

    def progress(done, _total, _loss):
        if done == stop_after:
            stop.set()

    return one.run(stop, progress)


def test_a_stopped_training_resumes_to_the_same_weights(divided, tmp_path):
    whole = training(divided, tmp_path / "whole")
    run(whole)
    with pytest.raises(Interrupted, match="stopped after 3 steps"):
        run(training(divided, tmp_path / "parts"), stop_after=3)
    resumed = training(divided, tmp_path / "parts")
    assert resumed.step == 3
    run(resumed)
    for name, tensor in whole.ema.items():
        assert torch.equal(tensor, resumed.ema[name]), name
    logs = [(tmp_path / name / LOG_NAME).read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    rows = list(csv.DictReader(logs[0].splitlines()))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert {"loss", "val_miou", "val_iou_cluster_00"} <= rows[0].keys()


def test_batches_from_any_step_are_those_of_the_whole_epochs(divided):
    train = factory.open_dataset(divided)
    assert len(train) == 50
    stream = training_batches(train, 8, seed=1, first_step=0)
    whole = [next(stream) for _ in range(14)]  # 6 a epoch, so that two epochs end inside
    for first in (1, 6, 11):
        rest = training_batches(train, 8, seed=1, first_step=first)
        for step in range(first, 14):
            images, masks = next(rest)
            assert torch.equal(images, whole[step][0])
            assert torch.equal(masks, whole[step][1])
    keys = {tuple(image.flatten().tolist()) for images, _ in whole[:6] for image in images}
    assert len(keys) == 48, "no pair twice in an epoch"


def test_a_network_learns_the_masks_of_its_dataset(divided, tmp_path):
    settings = NetworkSettings(steps=60, batch_size=8, every=30, augment=False)
    trained = run(training(divided, tmp_path, settings))
    assert trained.best_miou > 0.6
    rows = list(csv.DictReader((tmp_path / LOG_NAME).read_text().splitlines()))
    assert float(rows[-1]["val_miou"]) > float(rows[0]["val_miou"])


def test_both_files_give_the_network_s_answers_for_any_size_and_say_what_they_are(
    divided, tmp_path
):
    one = training(divided, tmp_path)
    run(one)
    network = make_network(3, "S").eval()
    network.load_state_dict(one.best)
    for name in ("model.pt", "model.onnx"):
        facts = read_facts_of(tmp_path / name)
        assert facts.classes == ("cluster_00", "cluster_01", "cluster_02")
        assert facts.size_px == 32
        assert facts.dataset_id == factory.open_dataset(divided).manifest.dataset_id
        assert facts.mean == tuple(one.mean)
        assert facts.std == tuple(one.std)
        loaded = load_network(tmp_path / name)
        for size in ((2, 3, 32, 32), (1, 3, 48, 80)):
            images = torch.randn(size, generator=torch.Generator().manual_seed(0))
            with torch.inference_mode():
                assert torch.allclose(loaded(images), network(images), atol=1e-3)


def test_a_network_of_another_origin_says_nothing_and_no_network_is_told(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        script = torch.jit.trace(torch.nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4))
        script.save(str(tmp_path / "other.pt"))
    assert read_facts_of(tmp_path / "other.pt") is None
    for name in ("bad.pt", "bad.onnx"):
        (tmp_path / name).write_bytes(b"no network")
        with pytest.raises(PluginError, match=name):
            read_facts_of(tmp_path / name)


def test_it_stops_when_val_gets_no_better_and_keeps_the_best(divided, tmp_path):
    settings = NetworkSettings(steps=60, batch_size=4, every=2, patience=1, learning_rate=1e-9)
    one = training(divided, tmp_path, settings)
    trained = run(one)
    assert trained.steps < 60
    assert one.since_best == 1
    scores = [row["val_miou"] for row in one.rows]
    assert trained.best_miou == pytest.approx(max(scores), abs=1e-4)


def test_a_val_split_that_repeats_the_training_samples_is_left_out_and_told(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("plugins.repeating.NUM_PICTURES", 4)
    changes = {
        "dataset.num_samples": 40,
        "dataset.generator.kind": "plugins.repeating:Repeating",
        "dataset.splits": {"train": 0.8, "val": 0.1, "test": 0.1},
    }
    make_small(tmp_path, changes)
    logger = logging.getLogger("factory")  # a command of another test may have set it up
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)
    with caplog.at_level("WARNING", "factory"):
        train, val = open_pairs(open_store(str(tmp_path / "out")))
    assert val is None
    assert len(train) > 0
    assert "val_left_out why='all its samples nearly repeat training samples'" in caplog.text
    with pytest.raises(JobError, match="no samples in test: all of them nearly repeat training"):
        find_pictures(str(tmp_path / "out"), "", "")
    (tmp_path / "yolo").mkdir()
    FORMATS["yolo"].write(open_export(open_store(str(tmp_path / "out"))), tmp_path / "yolo")
    document = yaml.safe_load((tmp_path / "yolo/data.yaml").read_text())
    assert {name: document.get(name) for name in ("train", "val", "test")} == {
        "train": "images/train",
        "val": "images/train",
        "test": None,
    }


def test_a_val_split_without_any_class_is_told(divided, tmp_path, monkeypatch):
    one = training(divided, tmp_path)
    none = [(images, torch.full_like(masks, 255)) for images, masks in scored_batches(one.val, 4)]
    monkeypatch.setattr("factory.downstream.training.scored_batches", lambda *_: iter(none))
    with pytest.raises(JobError, match="val: no pixel has a class; use a dataset"):
        run(one)


def test_a_folder_of_another_training_and_a_damaged_state_are_refused(divided, tmp_path):
    run(training(divided, tmp_path))
    with pytest.raises(JobError, match="a training with another steps, seed"):
        training(divided, tmp_path, SETTINGS.model_copy(update={"steps": 7, "seed": 1}))
    (tmp_path / STATE_NAME).write_bytes(b"half")
    with pytest.raises(StoreError, match=r"state\.pt: cannot be read"):
        training(divided, tmp_path)


def test_a_batch_larger_than_the_dataset_is_told(divided, tmp_path):
    settings = NetworkSettings(steps=1, batch_size=64)
    with pytest.raises(JobError, match="batch_size: found 64; at most the 50 pairs"):
        run(training(divided, tmp_path, settings))


def test_the_command_trains_and_names_its_files(divided, tmp_path):
    words = [
        "train",
        str(divided),
        "-o",
        str(tmp_path / "net"),
        "--steps",
        "2",
        "--batch-size",
        "4",
    ]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "trained 2 steps, mIoU 0." in result.output
    session = onnxruntime.InferenceSession(tmp_path / "net/model.onnx")
    (logits,) = session.run(None, {"images": np.zeros((1, 3, 32, 32), np.float32)})
    assert logits.shape == (1, 3, 32, 32)
    result = CliRunner().invoke(app, [*words, "--learning-rate", "-1"])
    assert result.exit_code == 2
    assert "learning_rate" in result.output


def test_the_library_of_networks_changes_nothing_of_torch():
    code = (
        "import torch; figures = lambda: (torch.__version__, torch.get_num_threads(), "
        "torch.get_default_dtype(), torch.__file__); before = figures();"
        "import factory.downstream.network as n; n.make_network(2, 'S'); assert figures() == before;"
        "import importlib.metadata as m;"
        "needs = [r for r in m.requires('monai') if 'extra' not in r];"
        "assert len(needs) == 2 and all(r.startswith(('torch>=', 'numpy<')) for r in needs), needs"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

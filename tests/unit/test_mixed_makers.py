"""Shards of machines that encode or compute otherwise are seen by every command that meets them."""

import json
import logging
import zlib

import pytest
import yaml
from small_job import make_small, small_document
from typer.testing import CliRunner

from factory.cli.app import app
from factory.dataset.state import find_state
from factory.manifest.records import read_record
from factory.pack import deflate
from factory.pack.encoder import encoder_digest
from factory.serve.facts import summarize
from factory.serve.view import DatasetView
from factory.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _own_log():
    encoder_digest.cache_clear()
    yield
    encoder_digest.cache_clear()
    logger = logging.getLogger("factory")
    logger.handlers.clear()
    logger.propagate = True


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def grow(folder, num_samples=19):
    job = folder / "job.yaml"
    job.write_text(yaml.safe_dump(small_document(folder, {"dataset.num_samples": num_samples})))
    return call("run", job)


def receipts_of(root):
    return sorted((root / "receipts/0000").iterdir())


def change_makers(root, change):
    for path in receipts_of(root):
        facts = json.loads(path.read_text())
        change(facts)
        path.write_text(json.dumps(facts))


def other_zlib(*settings):
    """A zlib that compresses otherwise, and has the same name and version."""
    return zlib.compressobj(*settings[:-1], zlib.Z_DEFAULT_STRATEGY)


def test_one_maker_is_mentioned_by_none_but_status(root, tmp_path):
    ran = grow(tmp_path)
    assert "other_maker" not in ran.stderr
    assert call("verify", root).stdout == "5 shards, 19 samples: all good\n"
    (count,) = json.loads(call("status", root, "--json").stdout)["makers"].values()
    assert count == 5


def test_two_encoders_of_one_name_are_told_apart_before_and_after(root, tmp_path, monkeypatch):
    monkeypatch.setattr(deflate, "_chosen", lambda: (other_zlib, ()))
    ran = grow(tmp_path)
    assert ran.exit_code == 0
    lines = ran.stderr.splitlines()
    (warning,) = (line for line in lines if "other_maker" in line)
    first = next(place for place, line in enumerate(lines) if "shard_committed" in line)
    assert lines.index(warning) < first
    assert "here='encoder " in warning
    assert "there='encoder " in warning
    assert "shards=3" in warning
    told = call("verify", root)
    assert told.exit_code == 0
    assert told.stdout.splitlines()[0].startswith("mixed makers: ")
    assert [line.partition(": encoder ")[0] for line in told.stdout.splitlines()[1:3]] == [
        "  shards 0-2 (3)",
        "  shards 3-4 (2)",
    ]
    assert len(json.loads(call("verify", root, "--json").stdout)["makers"]) == 2
    assert sorted(json.loads(call("status", root, "--json").stdout)["makers"].values()) == [2, 3]
    assert "3 shards: device " in call("status", root).stdout
    with_service = summarize(DatasetView(open_store(str(root))).snapshot())
    assert sorted(with_service.makers.values()) == [2, 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [("device", "NVIDIA H200"), ("torch", "1.0"), ("pillow", "1.0"), ("maskfactory", "0.0.1")],
)
def test_shards_of_other_libraries_and_devices_are_told_before_more_are_made(
    root, tmp_path, name, value
):
    def change(facts):
        (facts if name in facts else facts["versions"])[name] = value

    change_makers(root, change)
    (warning,) = (line for line in grow(tmp_path).stderr.splitlines() if "other_maker" in line)
    assert f"there='{name} {value}'" in warning


def test_a_run_that_makes_nothing_warns_of_nothing(root, tmp_path):
    change_makers(root, lambda facts: facts["versions"].update(torch="1.0"))
    assert "other_maker" not in grow(tmp_path, 13).stderr


def test_receipts_without_the_newer_facts_are_read_and_are_no_other_maker(root, tmp_path):
    def take_away(facts):
        del facts["versions"]["encoder"], facts["versions"]["kernels"]

    change_makers(root, take_away)
    ran = grow(tmp_path)
    assert ran.exit_code == 0
    assert "other_maker" not in ran.stderr
    assert call("verify", root, "--deep").stdout == "5 shards, 19 samples: all good\n"


def test_host_process_and_python_are_no_other_maker(root, tmp_path):
    def move(facts):
        facts.update(worker="elsewhere/1", run_id="elsewhere-1-00000000")
        facts["versions"].update(python="3.11.99", safetensors="9")

    change_makers(root, move)
    assert "other_maker" not in grow(tmp_path).stderr


def test_receipts_state_the_encoder_and_samples_do_not(tmp_path):
    make_small(tmp_path)
    root = tmp_path / "out"
    for path in receipts_of(root):
        record = read_record(path.read_bytes(), source="receipt")
        assert len(record.versions["encoder"]) == 16
        assert record.versions["kernels"]
    records = find_state(open_store(str(root))).records
    assert all(b"encoder" not in (root / record.path).read_bytes() for record in records)

import logging
import shutil
from functools import partial

import pytest
from typer.testing import CliRunner

from factory.cli.app import app
from factory.dataset.incomplete import tell_incomplete
from factory.dataset.views import make_manifest
from factory.derive.copy import derive_dataset
from factory.derive.rule import Rule
from factory.downstream.pairs import open_pairs
from factory.export.examples import open_export
from factory.store import open_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stopped(finished, tmp_path_factory):
    """What a run leaves that is killed when its second shard is not committed."""
    root = tmp_path_factory.mktemp("stopped") / "out"
    shutil.copytree(finished, root)
    (root / "receipts/0000/000001.json").unlink()
    return root


@pytest.fixture
def told(caplog, monkeypatch):
    """Runs an action; returns what it says of incomplete datasets."""
    logger = logging.getLogger("factory")  # a command of another test may have set it up
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", True)

    def lines_of(action):
        caplog.clear()
        with caplog.at_level("INFO", "factory"):
            action()
        assert {record.levelname for record in caplog.records} <= {"WARNING"}
        return [text for text in caplog.messages if "incomplete" in text]

    return lines_of


def test_who_uses_half_a_dataset_is_told_how_much_is_there(stopped, finished, tmp_path, told):
    whole, half = open_store(str(finished)), open_store(str(stopped))
    there, planned = make_manifest(half), make_manifest(whole)
    assert there.num_samples < planned.num_samples, "else this says nothing"
    counts = (
        f"samples={there.num_samples}/{planned.num_samples} "
        f"shards={len(there.records)}/{len(planned.records)} remedy='only these are used; "
    )
    actions = {
        "export": open_export,
        "train": open_pairs,
        "subset": lambda store: derive_dataset(
            [store], open_store(str(tmp_path / store.uri.strip("/").replace("/", "_"))), Rule()
        ),
    }
    for name, action in actions.items():
        lines = told(partial(action, half))
        assert len(lines) == 1, name
        assert f"dataset_incomplete dataset={stopped} {counts}" in lines[0]
        assert told(partial(action, whole)) == [], name


def test_rejected_samples_are_not_missing(finished, told):
    store = open_store(str(finished))
    manifest = make_manifest(store)
    fewer = manifest.model_copy(update={"num_planned": manifest.num_samples + 1})
    assert told(partial(tell_incomplete, store, fewer)) == []


def test_the_command_succeeds_and_says_so_beside_its_answer(stopped, tmp_path):
    made = CliRunner().invoke(
        app, ["export", "folders", str(stopped), "-o", str(tmp_path / "x"), "--json"]
    )
    assert made.exit_code == 0
    assert made.stderr.count("dataset_incomplete") == 1
    assert "incomplete" not in made.stdout

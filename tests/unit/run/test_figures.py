"""Figures of a run over time, as the sinks of a job get them."""

import queue
import sys
import threading

import pytest
from small_job import Witness, make_small, small_job

from factory.errors import JobError, PluginError
from factory.job import run_job
from factory.manifest.paths import JOB_PATH
from factory.run import figures as figures_module
from factory.run.figures import MOST_WORKERS, FiguresObserver, RunFigures, drawing
from factory.run.missing import find_missing
from factory.run.sinks import open_sinks

REJECTING = {"dataset.accept": {"min_confidence": 0.47}, "dataset.oversample": 2}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_small(tmp_path_factory.mktemp("made"), REJECTING).records


def test_figures_are_those_of_the_receipts(records):
    found, made = {}, RunFigures()
    made.failed()
    for record in records:
        found |= made.add(record)
    rejected = sum(sum(record.num_rejected.values()) for record in records)
    kept = sum(record.num_samples for record in records)
    assert rejected > 0
    assert found["rejected_share"] == pytest.approx(rejected / (rejected + kept))
    assert found["failed_attempts"] == 1
    last = records[-1]
    both = found["ms_per_pair/generate"] + found["ms_per_pair/other"]
    assert both == pytest.approx(1e3 * last.wall_s / last.num_samples)
    assert found[f"worker_pairs_per_s/{last.worker}"] == last.num_samples / last.wall_s
    assert found["pairs_per_s"] > 0


def test_a_thousand_workers_do_not_make_a_thousand_figures(records):
    made, found = RunFigures(), {}
    for number in range(1000):
        found |= made.add(records[0].model_copy(update={"worker": f"node/{number}"}))
    assert len([name for name in found if name.startswith("worker_")]) == MOST_WORKERS


def test_many_commits_are_one_row_and_a_slow_sink_gets_gaps(records):
    rows = queue.Queue(1)
    observer = FiguresObserver(Witness(), rows, every_s=3600.0)
    observer.started(13, 5)
    for record in records:
        observer.committed(record)
    observer.put()
    samples, first = rows.get()
    assert (rows.empty(), samples) == (True, 5 + records[0].num_samples)
    assert first["failed_attempts"] == 0
    observer.put()
    assert rows.get()[0] == 5 + sum(record.num_samples for record in records)


def test_steps_never_go_back_when_a_round_counts_anew(records):
    rows = queue.Queue()
    observer = FiguresObserver(Witness(), rows, every_s=0.0)
    observer.started(13, 5)
    observer.committed(records[0])
    observer.started(13, 0)
    observer.committed(records[1])
    assert records[1].num_samples < 5 + records[0].num_samples
    assert [rows.get()[0] for _ in range(2)] == [5 + records[0].num_samples] * 2


def test_the_figures_of_a_run_are_read_back_by_tensorboard(tmp_path, monkeypatch, recwarn):
    pytest.importorskip("tensorboard", reason="pip install 'maskfactory[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(figures_module, "EVERY_S", 0.0)
    witness = Witness()
    board = {"run.tensorboard": str(tmp_path / "board")}
    run_job(small_job(tmp_path, REJECTING | board), witness)
    assert len(witness.records) == 3
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    names = set(read.Tags()["scalars"])
    assert {"rejected_share", "ms_per_pair/generate", "ms_per_pair/other"} <= names
    assert f"worker_pairs_per_s/{witness.records[0].worker}" in names
    last = read.Scalars("rejected_share")[-1]
    assert last.step == sum(record.num_samples for record in witness.records)
    assert 0 < last.value < 1


def test_a_sink_that_fails_is_told_once_and_costs_no_pair(tmp_path, caplog):
    pytest.importorskip("tensorboard", reason="pip install 'maskfactory[tensorboard]'")
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level("WARNING"):
        board = {"run.tensorboard": str(tmp_path / "file/board")}
        assert run_job(small_job(tmp_path, board), Witness()).num_samples == 13
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("figures_failed")]
    assert len(told) == 1


def test_a_sink_that_never_answers_is_told_at_the_end(tmp_path, monkeypatch, caplog):
    over = threading.Event()
    monkeypatch.setattr("factory.run.missing.find_spec", lambda _: True)
    monkeypatch.setattr("factory.run.figures._LAST_S", 0.1)
    monkeypatch.setattr("factory.run.figures.open_sinks", lambda _: over.wait() and [])
    with caplog.at_level("WARNING"):
        spec = small_job(tmp_path, {"run.mlflow": "http://host"})
        assert run_job(spec, Witness()).num_samples == 13
    over.set()
    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("figures_failed")]
    assert len(told) == 1
    assert "no answer within 0.1 s of the end" in told[0]


@pytest.mark.parametrize("setting", ["tensorboard", "mlflow"])
def test_a_library_that_is_missing_is_told_before_anything_is_made(tmp_path, monkeypatch, setting):
    monkeypatch.setitem(sys.modules, setting, None)
    monkeypatch.setattr("factory.run.missing.find_spec", lambda _: None)
    spec = small_job(tmp_path, {f"run.{setting}": "somewhere"})
    told = f"run.{setting}: needs {setting}, which is not installed here; pip install 'maskfactory"
    with pytest.raises(PluginError, match=f"^{told}"):
        run_job(spec, Witness())
    assert not (tmp_path / "out").exists()
    (missing,) = find_missing(spec, None)
    assert (missing.exit_code, missing.what.startswith(told)) == (3, True)


def test_an_address_in_the_environment_has_to_be_there(tmp_path):
    with pytest.raises(JobError, match=r"run\.mlflow: NO_SUCH is no environment variable"):
        run_job(small_job(tmp_path, {"run.mlflow": "env:NO_SUCH"}), Witness())


def test_without_a_sink_nothing_is_between(tmp_path):
    witness = Witness()
    assert open_sinks(small_job(tmp_path)) == []
    with drawing(small_job(tmp_path), witness) as observer:
        assert observer is witness


def test_sinks_are_not_stored_with_the_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.run.missing.find_spec", lambda _: True)
    monkeypatch.setattr("factory.run.figures.open_sinks", lambda _: [])
    made = run_job(small_job(tmp_path, {"run.mlflow": "http://host/private"}), Witness())
    assert made.dataset_id == run_job(small_job(tmp_path / "b"), Witness()).dataset_id
    assert "private" not in (tmp_path / "out" / JOB_PATH).read_text()

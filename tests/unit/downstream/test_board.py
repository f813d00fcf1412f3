import sys

import pytest

from factory.downstream.board import open_board

ROWS = [{"step": step, "loss": 1 / step, "val_miou": 0.1 * step} for step in (2, 4, 6)]


# TensorBoard calls functions that NumPy and others will remove.
@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_the_figures_back_and_those_of_a_killed_run_are_void(tmp_path):
    pytest.importorskip("tensorboard", reason="pip install 'maskfactory[train]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_board(tmp_path, 0) as board:
        for row in ROWS:
            board.write(row)
    with open_board(tmp_path, 4) as board:
        board.write({"step": 6, "loss": 0.5, "val_miou": 0.9})
    read = EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    assert set(read.Tags()["scalars"]) == {"loss", "val_miou"}
    figures = [(event.step, round(event.value, 5)) for event in read.Scalars("loss")]
    assert figures == [(2, 0.5), (4, 0.25), (6, 0.5)]
    assert [event.step for event in read.Scalars("val_miou")] == [2, 4, 6]


def test_without_tensorboard_it_is_told_and_nothing_is_written(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with open_board(tmp_path, 0) as board:
        board.write(ROWS[0])
    assert list(tmp_path.iterdir()) == []
    assert "tensorboard_not_installed" in caplog.text
    assert "pip install 'maskfactory[train]'" in caplog.text

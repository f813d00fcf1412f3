"""Figures of a training for TensorBoard, if that is installed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging import WARNING
from pathlib import Path
from typing import Any

from factory.log import log_event


class Board:
    """Writes the lines of a training's log, as figures by name."""

    def __init__(self, writer: Any = None) -> None:  # noqa: ANN401 - of a library that may be missing
        """Write to TensorBoard's `writer`; None = nowhere."""
        self._writer = writer

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the figures of a line at its `step`."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()


@contextmanager
def open_board(folder: Path, step: int) -> Iterator[Board]:
    """Context manager for a new event file in `board/` of a training's folder.

    Figures of later steps than `step` in older files are void: a run that was killed left them.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        remedy = "pip install 'maskfactory[train]'; log.csv has the same figures"
        log_event("tensorboard_not_installed", level=WARNING, remedy=remedy)
        yield Board()
        return
    writer = SummaryWriter(str(folder / "board"), purge_step=step + 1)
    try:
        yield Board(writer)
    finally:
        writer.close()

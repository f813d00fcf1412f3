"""Edits of one sample, one at a time on a thread: their progress, their results, and files of them."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from factory.care.edit import EditableSample, EditedPair, EditSettings, write_pair
from factory.errors import FactoryError, Interrupted
from factory.fit.pixels.pool import one_thread
from factory.pack.image import encode_mask
from factory.store.single_file import replace_file, writing_into

MASKS_FOLDER = "masks"
"""Where what was painted is saved, named by the sample's key, as `dataset.edit.masks` reads it."""

_MOST_RESULTS = 16


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the latest edit is."""

    run: int
    """Its number; 0 before the first one."""
    steps: int = 0
    """Steps that it takes."""
    done: int = 0
    """Steps that it has taken."""
    iou: float = 0.0
    """The best IoU so far with the whole wanted mask."""
    state: str = "idle"
    """`idle`, `running`, `done`, `stopped` or `failed`."""
    problem: str = ""
    """Why it failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """One edit: what was painted, and the pair that came of it."""

    painted: UInt8[np.ndarray, "h w"]
    """What was painted; 255 where it stays."""
    pair: EditedPair
    """The pair."""


class EditSession:
    """Edits one sample. Thread-safe."""

    def __init__(self, sample: EditableSample, settings: EditSettings, folder: Path) -> None:
        """Hold what every edit needs; `folder` is where pairs are saved."""
        self.sample = sample
        self.settings = settings
        self.folder = folder
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._progress = Progress(0)
        self._results: OrderedDict[int, Result] = OrderedDict()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def progress(self) -> Progress:
        """How far the latest edit is."""
        with self._lock:
            return self._progress

    def start(self, painted: UInt8[np.ndarray, "h w"], settings: EditSettings) -> int | None:
        """Start an edit; returns its number, or None if another one is running.

        Raises:
            JobError: If `painted` cannot be used, or changes nothing.
        """
        self.sample.check(painted)
        with self._lock:
            if self._progress.state == "running":
                return None
            run = self._progress.run + 1
            self._progress = Progress(run, settings.steps, state="running")
            self._stop.clear()
            self._thread = threading.Thread(target=self._edit, args=(run, painted, settings))
            self._thread.start()
        return run

    def stop(self) -> None:
        """Stop the edit that is running, if there is one, and wait for it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def result(self, run: int) -> Result | None:
        """The result of an edit; None if it has none, or many have been made since."""
        with self._lock:
            return self._results.get(run)

    def save(self, run: int) -> list[Path] | None:
        """Write the pair of an edit, and what was painted; None if there is no such result.

        Each file is written whole or not at all.

        Raises:
            JobError: If they cannot be written.
        """
        result = self.result(run)
        if result is None:
            return None
        mask = self.folder / MASKS_FOLDER / f"{self.sample.key}.png"
        with self._saving:  # two pages may save at once: the files are all of one edit
            files = write_pair(result.pair, self.folder)
            with writing_into(mask.parent):
                mask.parent.mkdir(exist_ok=True)
            replace_file(mask, encode_mask(result.painted))
        return [*files, mask]

    def _edit(self, run: int, painted: UInt8[np.ndarray, "h w"], settings: EditSettings) -> None:
        def note(step: int, iou: float) -> None:
            if self._stop.is_set():
                raise Interrupted("edit: stopped")
            with self._lock:
                self._progress = Progress(run, settings.steps, step - 1, iou, "running")

        state, problem = "failed", "the edit ended without a result"
        try:
            with one_thread():
                pair = self.sample.edit(painted, settings, note)
            with self._lock:
                self._results[run] = Result(painted, pair)
                if len(self._results) > _MOST_RESULTS:
                    self._results.popitem(last=False)
            state, problem = "done", ""
        except Interrupted:
            state, problem = "stopped", ""
        except FactoryError as error:
            problem = str(error)
        finally:
            with self._lock:
                done = settings.steps if state == "done" else self._progress.done
                iou = self._progress.iou
                self._progress = Progress(run, settings.steps, done, iou, state, problem)

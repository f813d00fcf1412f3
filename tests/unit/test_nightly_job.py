"""A week of nights with a clock turned by hand: attempts that are killed, repeated, and overlap."""

import datetime
import hashlib
from collections import deque

import pytest
from small_job import Witness, small_job

from factory.dataset.state import find_rounds
from factory.errors import JobError
from factory.job import run_job
from factory.manifest.paths import MANIFEST_PATH
from factory.manifest.table import read_manifest
from factory.store import open_store

pytestmark = pytest.mark.slow
PER_NIGHT = 10  # two shards of five
NIGHTS = [datetime.date(2026, 11, 23) + datetime.timedelta(days=n) for n in range(7)]


class Killed(BaseException):
    """What the process of an attempt gets; nothing catches it."""


class Night(Witness):
    """An attempt's observer, which does something after a number of shards; 0 = before the first."""

    def __init__(self, after=None, then=None):
        super().__init__()
        self._after, self._then = after, then

    def started(self, num_samples, num_done):
        super().started(num_samples, num_done)
        if self._after == 0:
            self._then()

    def committed(self, record):
        super().committed(record)
        if len(self.records) == self._after:
            self._then()


class Scheduler:
    """Starts the step of each night at 2 o'clock, and again after an hour as long as it fails."""

    def __init__(self, folder):
        self.folder = folder
        self.now = datetime.datetime(2026, 11, 23, 0)
        self.starts = []

    def start(self, date, observer=None):
        """One attempt; whether it came to its end."""
        self.starts.append((self.now, date.isoformat()))
        try:
            run_job(
                small_job(self.folder), observer or Night(), add=PER_NIGHT, once=date.isoformat()
            )
        except Killed:
            return False
        return True

    def night(self, date, attempts=(None,)):
        """The attempts of a night; each has an observer, or none."""
        self.now = datetime.datetime.combine(date, datetime.time(2))
        left = deque(attempts)
        while left and not self.start(date, left.popleft()):
            self.now += datetime.timedelta(hours=1)
        assert not left, "attempts after the one that came to its end"


def kill():
    raise Killed


def digests(root):
    """What is the same however it came about: tars, tables and the segmenter, by name."""
    kept = [
        *root.glob("data/**/*.tar"),
        *root.glob("meta/**/*.parquet"),
        root / "segmenter.safetensors",
    ]
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in kept}


@pytest.fixture(scope="module")
def week(tmp_path_factory):
    folder = tmp_path_factory.mktemp("week")
    cron = Scheduler(folder)
    monday, tuesday, wednesday, thursday, friday, saturday, sunday = NIGHTS
    cron.night(monday)
    # Killed before its first shard, then after it, then whole.
    cron.night(tuesday, [Night(0, kill), Night(1, kill), None])
    cron.night(wednesday)
    assert cron.start(wednesday), "a scheduler that has lost its memory starts a night twice"
    # Thursday is slow: Friday's attempt begins after its first shard, and ends before it.
    cron.night(thursday, [Night(1, lambda: cron.night(friday))])
    cron.night(saturday, [Night(2, kill), None])
    cron.now += datetime.timedelta(hours=3)
    assert cron.start(tuesday), "an old night that is asked for again"
    cron.night(
        sunday,
        [
            Night(1, lambda: cron.start(sunday)),
        ],
    )
    return cron


def test_a_week_of_disturbed_nights_is_the_week_undisturbed(week, tmp_path):
    for date in NIGHTS:
        run_job(small_job(tmp_path), Witness(), add=PER_NIGHT, once=date.isoformat())
    assert digests(week.folder / "out") == digests(tmp_path / "out")


def test_it_is_one_big_run_because_each_night_is_whole_shards(week, tmp_path):
    run_job(small_job(tmp_path, {"dataset.num_samples": 7 * PER_NIGHT}), Witness())
    assert digests(week.folder / "out") == digests(tmp_path / "out")


def test_every_night_is_planned_once_in_the_order_of_the_clock(week):
    rounds = find_rounds(open_store(str(week.folder / "out")))
    assert [(r.step, r.num_samples) for r in rounds] == [(d.isoformat(), PER_NIGHT) for d in NIGHTS]
    assert len(week.starts) == 13


def test_the_manifest_names_every_shard_of_the_week(week):
    store = open_store(str(week.folder / "out"))
    manifest = read_manifest(store.read(MANIFEST_PATH), source="")
    assert (manifest.num_samples, manifest.num_planned, len(manifest.records)) == (70, 70, 14)


def test_a_night_that_asks_for_another_number_is_refused_and_changes_nothing(week):
    before = digests(week.folder / "out")
    with pytest.raises(JobError, match="--once 2026-11-25: that step was planned with 10 samples"):
        run_job(small_job(week.folder), Witness(), add=20, once="2026-11-25")
    assert digests(week.folder / "out") == before

import fcntl
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from far_store import FarStore
from small_job import make_small

from factory.dataset import shard_cache
from factory.dataset.reader import Dataset, open_dataset
from factory.dataset.shard_cache import ShardCache
from factory.dataset.walk import open_shard
from factory.errors import DamageError, JobError
from factory.identity import digest_of_file


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    return folder / "out", make_small(folder).records


@pytest.fixture
def store(made, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return FarStore(made[0], tmp_path / "log")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "maskfactory" / "shards"


def kept(folder):
    return {path.name.partition(".")[0] for path in folder.glob("*.tar")}


def test_a_shard_is_downloaded_once_and_read_from_its_copy_from_then_on(made, store, folder):
    for _ in range(3):
        assert len(list(Dataset(store).samples())) == 13
    assert store.downloads() == [record.path for record in made[1]]
    assert kept(folder) == {record.sha256 for record in made[1]}
    assert all(digest_of_file(path) == path.stem for path in folder.glob("*.tar"))
    assert [path.name for path in folder.iterdir() if path.suffix != ".tar"] == ["lock"]


def test_a_folder_is_read_in_place_and_no_bytes_mean_no_copies(made, store, folder):
    assert len(list(open_dataset(made[0]).samples())) == 13
    assert len(list(Dataset(store, cache_bytes=0).samples())) == 13
    assert not folder.exists()


def test_the_copies_used_longest_ago_make_room(made, store, folder):
    first, second, third = made[1]
    bound = max(first.size_bytes + third.size_bytes, second.size_bytes + third.size_bytes)
    cache = ShardCache(bound)
    for age, record in ((300, first), (200, second)):
        cache.open(store, record).close()
        os.utime(folder / f"{record.sha256}.tar", (0, 10**9 - age))
    cache.open(store, first).close()  # used again: the second is the oldest now
    cache.open(store, third).close()
    assert kept(folder) == {first.sha256, third.sha256}
    assert sum(path.stat().st_size for path in folder.iterdir()) <= bound


def test_a_copy_that_is_read_stays_and_what_does_not_fit_is_read_without(made, store, folder):
    first, second, _ = made[1]
    cache = ShardCache(max(first.size_bytes, second.size_bytes))
    with open_shard(store, first, cache) as one:
        with open_shard(store, second, cache) as other:
            assert other.read(0).key == "000000005"
        assert kept(folder) == {first.sha256}
        assert one.read(0).key == "000000000"
    with open_shard(store, second, cache):
        assert kept(folder) == {second.sha256}
    assert ShardCache(first.size_bytes - 1).open(store, first) is None


@pytest.mark.parametrize("harm", [lambda data: data[:700] + b"\xff" + data[701:], lambda d: d[:-9]])
def test_a_damaged_copy_is_downloaded_again(made, store, folder, harm):
    record = made[1][0]
    ShardCache(10**9).open(store, record).close()
    copy = folder / f"{record.sha256}.tar"
    copy.write_bytes(harm(copy.read_bytes()))
    before = [sample.image.tobytes() for sample in open_dataset(made[0]).samples()]
    assert [sample.image.tobytes() for sample in Dataset(store).samples()] == before
    assert digest_of_file(copy) == record.sha256
    assert store.downloads().count(record.path) == 2


def test_what_the_store_holds_is_not_kept_if_its_receipt_says_otherwise(
    made, tmp_path, monkeypatch, folder
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = shutil.copytree(made[0], tmp_path / "copy")
    store = FarStore(root, tmp_path / "log")
    tar = root / made[1][0].path
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    with pytest.raises(DamageError, match=r"damaged \(sha256 "):
        list(Dataset(store).samples())
    tar.unlink()
    with pytest.raises(DamageError, match="missing, though its receipt is there"):
        list(Dataset(store).samples())
    assert list(folder.iterdir()) == [folder / "lock"]


def test_threads_that_want_one_shard_download_it_once(made, store):
    caches = [ShardCache(10**9) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            files = list(pool.map(lambda cache: cache.open(store, made[1][0]), caches))
            assert len({file.read() for file in files}) == 1
            for file in files:
                file.close()
    assert store.downloads() == [made[1][0].path]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
from far_store import FarStore
from factory.dataset.reader import Dataset

class Fatal(FarStore):
    def download(self, path, sink):
        super().download(path, sink)
        sink.truncate(777)
        os.kill(os.getpid(), signal.SIGKILL)

list(Dataset(Fatal(sys.argv[1], Path(sys.argv[2]))).samples())
"""


def test_the_part_of_a_killed_process_is_no_copy_and_gives_its_room(made, store, folder, tmp_path):
    command = [sys.executable, "-c", KILLED, str(made[0]), str(tmp_path / "killed"), *sys.path]
    assert subprocess.run(command, check=False).returncode == -9
    first, second, _ = made[1]
    part = folder / f"{first.sha256}.{first.size_bytes}.part"
    assert part.stat().st_size == 777
    # Another shard needs its room, which is reserved from the beginning on.
    ShardCache(first.size_bytes + second.size_bytes - 1).open(store, second).close()
    assert not part.exists()
    part.write_bytes(bytes(777))
    assert len(list(Dataset(store).samples())) == 13
    assert not part.exists()
    assert kept(folder) == {record.sha256 for record in made[1]}


def test_a_part_that_is_written_is_waited_for(made, store, folder):
    record = made[1][0]
    folder.mkdir(parents=True)
    part = folder / f"{record.sha256}.{record.size_bytes}.part"
    with part.open("wb") as other, ThreadPoolExecutor(1) as pool:
        fcntl.flock(other, fcntl.LOCK_EX)
        waits = pool.submit(ShardCache(10**9).open, store, record)
        other.write((made[0] / record.path).read_bytes())
        other.flush()
        assert not waits.done()
        with shard_cache._locked(folder):  # as whoever downloads
            part.replace(folder / f"{record.sha256}.tar")
            fcntl.flock(other, fcntl.LOCK_UN)
        waits.result(60).close()
    assert store.downloads() == []


def test_a_full_disk_or_a_folder_without_permission_means_no_copies(
    made, store, folder, monkeypatch, caplog
):
    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shard_cache.shutil, "disk_usage", full)
    assert len(list(Dataset(store).samples())) == 13
    assert "shard_cache_not_used" in caplog.text
    assert "No space left on device" in caplog.text
    assert not kept(folder)


def test_half_of_the_free_disk_is_the_most_that_is_taken(made, store, folder, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(
        shard_cache.shutil, "disk_usage", lambda _: usage._replace(free=made[1][0].size_bytes)
    )
    assert ShardCache(10**9).open(store, made[1][0]) is None
    assert not list(folder.glob("*.*"))


def test_a_bound_is_no_negative_number_and_goes_along_into_loader_workers(made):
    with pytest.raises(JobError, match=r"cache_bytes: found -1; 0 \(no cache\) or more"):
        open_dataset(made[0], cache_bytes=-1)
    dataset = pickle.loads(pickle.dumps(open_dataset(made[0], cache_bytes=5)))
    assert dataset._cache.bound_bytes == 5
    assert dataset.of_split("train")._cache.bound_bytes == 5

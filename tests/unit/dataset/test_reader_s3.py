"""The reader on a real S3 server: what it reads, and how little it asks for."""

import pickle
import tempfile
from pathlib import Path

import boto3
import pytest
from s3_server import moto_server, use_server
from small_job import make_small
from torch.utils.data import DataLoader

from factory.dataset.reader import open_dataset
from factory.errors import DamageError, StoreError
from factory.identity import sample_key

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::ResourceWarning",
    "ignore:This DataLoader will create:UserWarning",
)
TAR = "data/train/tiny-000001.tar"


@pytest.fixture(scope="module")
def endpoint():
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    make_small(folder, {"dataset.num_samples": 120, "dataset.samples_per_shard": 60})
    return folder / "out"


@pytest.fixture
def uri(endpoint, local, monkeypatch, tmp_path):
    use_server(monkeypatch, endpoint)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    client = boto3.client("s3")
    client.create_bucket(Bucket="bucket")
    for path in local.rglob("*"):
        if path.is_file():
            name = f"{tmp_path.name}/{path.relative_to(local).as_posix()}"
            client.put_object(Bucket="bucket", Key=name, Body=path.read_bytes())
    return f"s3://bucket/{tmp_path.name}"


def put(uri, path, data):
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    boto3.client("s3").put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=data)


def bytes_read(dataset, monkeypatch):
    """The sizes of what the server sends from now on."""
    sizes = []
    client = dataset._store.calls.client
    client.meta.events.register(
        "after-call.s3.GetObject", lambda parsed, **_: sizes.append(parsed["ContentLength"])
    )
    return sizes


@pytest.mark.slow
def test_a_bucket_reads_as_the_folder_it_was_copied_from(uri, local):
    here, there = open_dataset(local), open_dataset(uri)
    assert len(there) == len(here) == 120
    assert [s.key for s in there] == [s.key for s in here] == [sample_key(i) for i in range(120)]
    assert (there[77].image == here[77].image).all()
    assert (there["000000077"].mask == here[77].mask).all()
    assert there.facts(["key"]) == here.facts(["key"])
    assert "data:image/png;base64," in there._repr_html_()


@pytest.mark.slow
def test_a_single_sample_is_not_a_download_of_its_shard(uri, monkeypatch):
    dataset = open_dataset(uri)
    size = dataset.manifest.records[0].size_bytes
    sizes = bytes_read(dataset, monkeypatch)
    for position in (0, 31, 59, 60, 119):
        sizes.clear()
        assert dataset[position].facts.index == position
        assert 0 < sum(sizes) < size / 2
        assert len(sizes) <= 4


@pytest.mark.slow
def test_workers_and_ranks_read_a_bucket_once(uri):
    keys = []
    for rank in range(2):
        pairs = open_dataset(uri).to_torch(shuffle=True, rank=rank, world_size=2)
        keys += [pair["key"] for pair in DataLoader(pairs, batch_size=None, num_workers=2)]
    assert sorted(keys) == [sample_key(index) for index in range(120)]
    with pytest.MonkeyPatch.context() as changed:
        dataset = open_dataset(uri)
        sizes = bytes_read(dataset, changed)
        assert [sample.key for sample in dataset] == sorted(keys)
        assert sizes == []  # the workers' copies were read


@pytest.mark.slow
def test_a_copy_connects_again_and_without_a_cache_nothing_stays_on_this_machine(uri, tmp_path):
    dataset = pickle.loads(pickle.dumps(open_dataset(uri, cache_bytes=0)))
    assert len(list(dataset.samples(shuffle=True, seed=1))) == 120
    left = [path for path in Path(tmp_path, "maskfactory").rglob("*") if path.is_file()]
    assert left == []
    assert not Path(tmp_path, "cache").exists()


@pytest.mark.slow
def test_a_cut_changed_or_lost_shard_is_told(uri, local):
    whole = (local / TAR).read_bytes()
    put(uri, TAR, whole[:-512])
    with pytest.raises(DamageError, match=rf"^{uri}/{TAR}: damaged \(\d+ bytes, its receipt says"):
        open_dataset(uri)[60]
    put(uri, TAR, whole[:-1] + b"x")
    with pytest.raises(DamageError, match=r"damaged \(sha256 "):
        list(open_dataset(uri))
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    boto3.client("s3").delete_object(Bucket=bucket, Key=f"{prefix}/{TAR}")
    for read in (lambda ds: ds[60], list):
        with pytest.raises(DamageError, match="missing, though its receipt is there"):
            read(open_dataset(uri))


def test_a_bucket_without_a_dataset_is_told(uri):
    with pytest.raises(StoreError, match="no dataset here; make one with `factory run JOB`"):
        open_dataset(f"{uri}-none")

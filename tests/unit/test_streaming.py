import pickle

import numpy as np
import pytest
import torch
from small_job import make_small, small_document, small_job
from torch.utils.data import DataLoader

from factory.dataset.reader import open_dataset
from factory.errors import JobError, PluginError, ShardError
from factory.identity import sample_key
from factory.streaming import stream

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")


def keys(pairs):
    return [pair["key"] for pair in pairs]


def read(pairs, num_workers, **options):
    return list(DataLoader(pairs, batch_size=None, num_workers=num_workers, **options))


OTHERS = {
    "plain": {},
    "rejecting": {"dataset.oversample": 3, "dataset.accept.min_confidence": 0.457},
    "lossy": {"dataset.encode.image": "jpeg"},
    "with confidence": {"dataset.encode.confidence": True},
    "with noise": {"dataset.latents.seed": 7, "dataset.batch_size": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_a_stream_has_the_pixels_that_the_shards_of_its_job_have(tmp_path, kind):
    overrides = OTHERS[kind] | {"dataset.num_samples": 8, "dataset.samples_per_shard": 4}
    make_small(tmp_path, overrides)
    stored = {pair["key"]: pair for pair in open_dataset(tmp_path / "out").to_torch()}
    made = {}
    for pair in stream(small_job(tmp_path / "elsewhere", overrides), progress=False):
        made[pair["key"]] = pair
        if pair["key"] >= max(stored):
            break
    assert set(stored) <= set(made), (
        "a shard keeps the first accepted ones, a stream keeps them all"
    )
    for key, pair in stored.items():
        assert pair.keys() == made[key].keys()
        for name in pair.keys() - {"key", "class_label"}:
            assert torch.equal(pair[name], made[key][name]), (key, name)
        assert pair["class_label"] == made[key]["class_label"]
    assert not (tmp_path / "elsewhere").exists(), "nothing is written"


def test_rejected_samples_are_left_out(tmp_path):
    job = small_job(tmp_path, {"dataset.accept.min_confidence": 0.457})
    some = keys(stream(job, num_samples=10, progress=False))
    every = keys(stream(small_job(tmp_path), num_samples=40, progress=False))
    assert len(some) == 10
    assert some != every[:10]
    assert set(some) < set(every)


@pytest.mark.slow
@pytest.mark.parametrize(("num_workers", "start"), [(0, None), (2, "fork"), (3, "spawn")])
def test_loader_workers_make_different_pairs_and_as_many_as_were_asked_for(
    tmp_path, num_workers, start
):
    pairs = stream(small_job(tmp_path), num_samples=11, progress=False)
    made = read(pairs, num_workers, multiprocessing_context=start)
    assert len(set(keys(made))) == len(made) == 11
    alone = {
        pair["key"]: pair for pair in stream(small_job(tmp_path), num_samples=40, progress=False)
    }
    for pair in made:
        assert torch.equal(pair["image"], alone[pair["key"]]["image"])
        assert torch.equal(pair["mask"], alone[pair["key"]]["mask"])


def test_ranks_make_different_pairs_too(tmp_path):
    made = [
        keys(read(stream(small_job(tmp_path), num_samples=13, rank=rank, world_size=2), 2))
        for rank in range(2)
    ]
    assert [len(part) for part in made] == [7, 6]
    assert len({key for part in made for key in part}) == 13


def test_a_stream_ends_never_unless_it_is_told_to(tmp_path):
    pairs = iter(stream(small_job(tmp_path), progress=False))
    made = [next(pairs)["key"] for _ in range(60)]
    assert made == [sample_key(index) for index in range(60)]


def test_it_repeats_and_a_copy_makes_the_same(tmp_path):
    pairs = stream(small_job(tmp_path), num_samples=7, progress=False)
    assert keys(pairs) == keys(pairs) == keys(pickle.loads(pickle.dumps(pairs)))


def test_the_segmenter_is_fitted_once_for_all_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pairs = stream(small_job(tmp_path), num_samples=6, progress=False)
    fitted = list((tmp_path / "cache").rglob("*.safetensors"))
    assert len(fitted) == 1
    fitted[0].unlink()
    assert len(read(pairs, 2)) == 6
    assert not list((tmp_path / "cache").rglob("*.safetensors")), "no worker fitted again"


def test_a_method_that_is_not_fitted_can_be_streamed(tmp_path):
    overrides = {"dataset.segmenter": {"kind": "plugins.mixing_plugins:Threshold"}}
    pairs = stream(small_job(tmp_path, overrides), num_samples=3, progress=False)
    assert len(keys(pairs)) == 3
    assert [label.id for label in pairs.labels] == [0, 1]


def test_the_process_keeps_its_number_of_threads_between_pairs(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        for _ in stream(small_job(tmp_path), num_samples=5, progress=False):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_pairs_are_transformed_where_they_are_made(tmp_path):
    pairs = stream(small_job(tmp_path), num_samples=4, transform=lambda pair: int(pair["key"]))
    assert read(pairs, 2) == [0, 3, 1, 4]


def test_a_job_can_be_given_as_plain_values(tmp_path):
    (pair,) = stream(small_document(tmp_path), num_samples=1, progress=False)
    assert (pair["image"].shape, pair["image"].dtype) == ((3, 32, 32), torch.uint8)
    assert np.unique(pair["mask"]).max() < 4


@pytest.mark.slow
def test_a_stream_of_which_nothing_is_accepted_ends(tmp_path):
    job = small_job(tmp_path, {"dataset.accept.min_confidence": 0.99, "dataset.batch_size": 64})
    with pytest.raises(
        ShardError, match=r"none of \d{4} samples in a row was accepted \(confidence"
    ):
        list(stream(job, num_samples=1, progress=False))


@pytest.mark.parametrize(
    ("overrides", "words", "kind", "text"),
    [
        ({"dataset.accept.class_share": {"cat": [0, 1]}}, {}, JobError, "found class cat"),
        ({"dataset.segmenter": {"kind": "nothing"}}, {}, JobError, "no segmenter has that name"),
        ({}, {"num_samples": 0}, JobError, "num_samples: found 0; at least 1, or None for no end"),
        ({}, {"device": "gpu"}, JobError, "device: found 'gpu'; cpu, cuda or cuda:N"),
        ({}, {"device": "meta"}, JobError, "device: found 'meta'; cpu, cuda or cuda:N"),
        ({}, {"rank": 0}, JobError, "give both or none"),
    ],
)
def test_what_cannot_be_streamed_is_told_at_once(tmp_path, overrides, words, kind, text):
    with pytest.raises(kind, match=text):
        stream(small_job(tmp_path, overrides), progress=False, **words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path):
    with pytest.raises(PluginError, match="device: found cuda, and PyTorch sees no GPU here"):
        stream(small_job(tmp_path), device="cuda")
    with pytest.raises(PluginError, match=r"run\.gpus_per_actor: this machine has no GPU"):
        stream(small_job(tmp_path, {"run.gpus_per_actor": 1}))


@pytest.mark.gpu
def test_a_forked_worker_is_told_that_it_cannot_use_the_gpu(tmp_path):
    pairs = stream(small_job(tmp_path), num_samples=4, device="cuda", progress=False)
    assert len(keys(pairs)) == 4
    with pytest.raises(PluginError, match="multiprocessing_context='spawn'"):
        read(pairs, 1, multiprocessing_context="fork")
    assert len(read(pairs, 1, multiprocessing_context="spawn")) == 4

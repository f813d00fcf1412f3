import shutil
import threading

import pytest
from small_job import make_small, small_job

from factory.care.replay import regenerate_samples
from factory.care.verify import verify_dataset
from factory.dataset.holdings import find_holdings, find_rounds
from factory.dataset.status import make_status
from factory.errors import Interrupted
from factory.pack.facts import SampleFacts
from factory.pack.tar import read_members
from factory.run.base import WorkerConfig
from factory.run.worker import build_maker
from factory.store import open_store


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    make_small(folder)
    return folder


@pytest.fixture
def made(finished, tmp_path):
    """A folder with a finished dataset of its own in `out`."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def facts_of(folder):
    """The facts of every sample, shard by shard."""
    return [
        [
            SampleFacts.model_validate_json(data)
            for name, data in read_members(path)
            if name.endswith(".json")
        ]
        for path in sorted((folder / "out").glob("data/train/*.tar"))
    ]


def between(values, count):
    """A limit that the `count` smallest of sorted `values` miss; facts are rounded to 1e-6."""
    assert values[count] - values[count - 1] > 4e-6
    return (values[count - 1] + values[count]) / 2


def test_oversampling_keeps_the_first_accepted_samples_and_counts_the_others(finished, tmp_path):
    confidence = {f.index: f.confidence for shard in facts_of(finished) for f in shard}
    limit = between(sorted(confidence.values()), 4)
    manifest = make_small(
        tmp_path, {"dataset.accept": {"min_confidence": limit}, "dataset.oversample": 2.6,
                   "dataset.num_samples": 10}
    )  # fmt: skip
    shards = facts_of(tmp_path)
    for record, facts in zip(manifest.records, shards, strict=True):
        kept = [fact.index for fact in facts]
        assert kept == sorted(kept)
        assert record.num_indices == 13
        assert all(fact.confidence >= limit for fact in facts)
        assert all(record.first_index <= i < record.first_index + 13 for i in kept)
    first = [i for i in range(13) if confidence[i] >= limit][:5]
    assert [fact.index for fact in shards[0]] == first
    last_batch_end = min(13, (first[-1] // 3 + 1) * 3)
    rejected = sum(confidence[i] < limit for i in range(last_batch_end))
    assert manifest.records[0].num_rejected == {"confidence": rejected}
    assert rejected > 0
    assert verify_dataset(open_store(str(tmp_path / "out")), deep=True).problems == ()
    assert regenerate_samples(open_store(str(tmp_path / "out")), 4) == (4, [])


def test_a_shard_is_never_fuller_than_was_asked_for(tmp_path):
    manifest = make_small(tmp_path, {"dataset.oversample": 2.5})
    assert [record.num_samples for record in manifest.records] == [5, 5, 3]
    kept = [[fact.index for fact in shard] for shard in facts_of(tmp_path)]
    assert kept == [[0, 1, 2, 3, 4], [13, 14, 15, 16, 17], [26, 27, 28]]
    assert all(record.num_rejected == {} for record in manifest.records)


def maker_of(folder, run_id="some-run"):
    spec = small_job(folder)
    config = WorkerConfig(
        spec.dataset, spec.run, str(folder / "out"), False, "", "segmenter.safetensors", run_id, ()
    )
    return build_maker(config)


def first_task(folder):
    return next(find_rounds(open_store(str(folder / "out")))[0].tasks())


def test_a_shard_that_exists_is_not_made_again(made):
    record = maker_of(made).make(first_task(made))
    assert record == find_holdings(open_store(str(made / "out"))).records[0]
    assert not (made / "out/tmp").exists()


def test_what_a_killed_worker_of_the_same_run_left_does_not_stop_its_successor(made):
    (made / "out/receipts/0000/000000.json").unlink()
    folder = made / "out/tmp/some-run"
    folder.mkdir(parents=True)
    (folder / "tiny-000000.tar").write_bytes(b"half a shard")
    assert maker_of(made).make(first_task(made)).num_samples == 5


def test_a_maker_that_is_told_to_stop_leaves_nothing(made):
    (made / "out/receipts/0000/000000.json").unlink()
    (made / "out/data/train/tiny-000000.tar").unlink()
    maker = maker_of(made)
    maker.stop.set()
    with pytest.raises(Interrupted) as caught:
        maker.make(first_task(made))
    assert str(caught.value) == "shard tiny-000000: stopped before it was whole"
    assert list((made / "out/tmp").rglob("*.tar")) == []


def test_one_task_made_by_two_workers_at_once_is_one_shard(made):
    whole = files_of(made / "out/data")
    shutil.rmtree(made / "out/data")
    shutil.rmtree(made / "out/receipts")
    task = first_task(made)
    records = []

    def work(maker):
        records.append(maker.make(task))

    threads = [threading.Thread(target=work, args=(maker_of(made, f"run-{i}"),)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert records[0] == records[1]
    assert files_of(made / "out/data") == {"train/tiny-000000.tar": whole["train/tiny-000000.tar"]}


def test_without_oversampling_rejected_samples_make_shards_short(finished, tmp_path):
    confidence = sorted(f.confidence for shard in facts_of(finished) for f in shard)
    make_small(tmp_path, {"dataset.accept": {"min_confidence": between(confidence, 2)}})
    status = make_status(find_holdings(open_store(str(tmp_path / "out"))), [])
    assert status["state"] == "complete"
    assert status["samples_short"] == 2
    assert status["samples_rejected"] == {"confidence": 2}

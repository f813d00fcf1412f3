"""What a task becomes: which batches are computed, which samples are kept, and what the receipt says."""

import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from plugins.batches import Sick
from small_job import make_small, small_job
from toy_maker import a_maker, files_in, kept_in, steered

from factory.care.replay import regenerate_samples
from factory.care.verify import verify_dataset
from factory.dataset.state import find_rounds, find_state
from factory.dataset.status import make_status
from factory.errors import Interrupted, ShardError, StoreError
from factory.pack.facts import SampleFacts
from factory.pack.tar import read_members
from factory.run.base import WorkerConfig
from factory.run.worker import build_maker
from factory.store import open_store


def shares(folder, class_id, count):
    """The share of a class in each of the first `count` samples of the toy."""
    maker, tasks = a_maker(folder / "probe", num_samples=count, samples_per_shard=count)
    maker.make(tasks[0])
    facts = [
        SampleFacts.model_validate_json(data)
        for name, data in files_in(folder / "probe", tasks[0]).items()
        if name.endswith(".json")
    ]
    return [fact.class_px[class_id] / (fact.width * fact.height) for fact in facts]


def test_batches_begin_where_the_shard_does_and_the_last_one_is_padded(tmp_path):
    maker, tasks = a_maker(tmp_path)
    for task in tasks:
        maker.make(task)
    assert maker.generator.batches == [
        [0, 1, 2],
        [3, 4, 4],
        [5, 6, 7],
        [8, 9, 9],
        [10, 11, 12],
    ]


def test_padding_is_never_kept(tmp_path):
    maker, tasks = a_maker(tmp_path)
    record = maker.make(tasks[0])
    assert kept_in(tmp_path, tasks[0]) == [0, 1, 2, 3, 4]
    assert (record.num_samples, record.num_members, record.num_rejected) == (5, 15, {})


def test_samples_are_under_way_until_their_shard_is_committed(tmp_path, monkeypatch):
    maker, tasks = a_maker(tmp_path, num_samples=15, samples_per_shard=15)
    generate, seen = maker.generator.generate, []

    def watched(*arguments):
        seen.append(maker.underway.total)
        return generate(*arguments)

    monkeypatch.setattr(maker.generator, "generate", watched)
    maker.make(tasks[0])
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert 9 <= seen[-1] < 15, "two batches are computed ahead of those that are counted"
    assert maker.underway.total == 0


def test_a_shard_that_fails_is_not_under_way_any_more(tmp_path):
    maker, tasks = a_maker(tmp_path, accept={"class_share": {"square": [0.99, 1]}})
    with pytest.raises(ShardError):
        maker.make(tasks[0])
    assert maker.underway.total == 0


def test_a_sample_is_made_again_in_the_very_batch_it_was_made_in(tmp_path):
    maker, tasks = a_maker(tmp_path)
    for task in tasks:
        maker.make(task)
    for task in tasks:
        stored = files_in(tmp_path, task)
        made = list(maker.generator.batches)
        for index in kept_in(tmp_path, task):
            again = maker.replay(task, index)
            assert maker.generator.batches[-1] in made
            assert {f"{index:09d}.{e}": data for e, data in again.files} == {
                name: data for name, data in stored.items() if name.startswith(f"{index:09d}")
            }


@pytest.mark.parametrize(("compute", "encode"), [(3, 0), (1, 2), (2, 3)])
def test_threads_change_neither_bytes_nor_counts(tmp_path, compute, encode):
    limits = {"accept": {"class_share": {1: [0.08, 1]}}, "oversample": 3}
    (one, tasks), (many, _) = (
        a_maker(tmp_path / name, **counts, **limits)
        for name, counts in {"one": {}, "many": {"compute": compute, "encode": encode}}.items()
    )
    for task in tasks:
        first, second = one.make(task), many.make(task)
        assert first.sha256 == second.sha256
        assert first.num_rejected == second.num_rejected
        assert first.coverage == second.coverage


def test_the_next_batch_is_begun_while_the_copies_of_one_are_waited_for_and_no_byte_changes(
    tmp_path,
):
    (plain, tasks), (copying, _) = (
        a_maker(tmp_path / "plain"),
        a_maker(tmp_path / "copying", encode=1),
    )
    copying._pools = replace(copying._pools, copy=ThreadPoolExecutor(1))  # as with a GPU
    start, begun = copying._batch_maker.start, [threading.Event() for _ in range(3)]

    def slow(first, count, task):
        pending, place = start(first, count, task), (first - task.first_index) // 3
        begun[place].set()

        def wait():
            assert begun[min(place + 1, 1)].wait(20), "the second batch waited for the first one"
            return pending()

        return wait

    copying._batch_maker.start = slow
    for task in tasks[:2]:  # of two batches each
        assert copying.make(task).sha256 == plain.make(task).sha256
        for event in begun:
            event.clear()


def test_shards_that_are_made_at_the_same_time_are_those_made_one_after_another(tmp_path):
    (slow, tasks), (quick, _) = a_maker(tmp_path / "slow"), a_maker(tmp_path / "quick", compute=2)
    alone = [slow.make(task).sha256 for task in tasks]
    found = {}
    threads = [
        threading.Thread(target=lambda t=task: found.update({t.shard_index: quick.make(t).sha256}))
        for task in tasks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[index] for index in range(3)] == alone


def test_no_batch_is_computed_far_behind_the_last_sample_that_is_kept(tmp_path):
    maker, tasks = a_maker(tmp_path, oversample=20)
    maker.make(tasks[1])
    assert tasks[1].num_indices == 100
    begun = [batch[0] for batch in maker.generator.batches]
    assert begun[:2] == [100, 103]
    assert len(begun) <= 4, "one thread is at most two batches ahead"


def test_batches_wait_for_whoever_takes_them(tmp_path):
    maker, tasks = a_maker(tmp_path, encode=1, num_samples=300, samples_per_shard=300)
    batches = maker._batches(tasks[0])
    next(batches)
    maker._pools.compute.submit(int).result()  # the only thread has done all that it was given
    assert len(maker.generator.batches) == 2, "the one that was taken, and one more"
    batches.close()


def test_one_thread_for_everything_is_that_of_the_caller_and_no_batch_ahead(tmp_path):
    (alone, tasks), (many, _) = a_maker(tmp_path / "one"), a_maker(tmp_path / "many", compute=2)
    before, seen = set(threading.enumerate()), []
    compute = alone._batch_maker.start
    alone._batch_maker.start = lambda *given: (
        seen.append(threading.current_thread()) or compute(*given)
    )
    made = alone.make(tasks[0])
    assert made.sha256 == many.make(tasks[0]).sha256
    assert set(seen) == {threading.current_thread()}
    assert not [one for one in set(threading.enumerate()) - before if "encode" in one.name]
    batches = alone._batches(tasks[1])
    next(batches)
    assert len(alone.generator.batches) == len(seen) == 3, (
        "two of the first shard, and the one taken"
    )
    batches.close()


@pytest.mark.parametrize(("compute", "encode"), [(1, 0), (2, 0), (1, 2)])
def test_a_tar_that_cannot_be_written_is_told_and_no_file_is_left(tmp_path, compute, encode):
    maker, tasks = a_maker(tmp_path, compute=compute, encode=encode)
    failing = OSError(28, "No space left on device")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("factory.pack.tar.ShardWriter.add", lambda *_: raised(failing))
        with pytest.raises(StoreError, match="no space left"):
            maker.make(tasks[0])
    assert not list(tmp_path.rglob("*.tar"))
    assert maker.make(tasks[0]).num_samples == 5


def raised(error):
    raise error


def test_rejected_samples_are_counted_by_reason_and_by_the_generator_s_class(tmp_path):
    least = 0.08
    found = shares(tmp_path, 1, 13)
    maker, tasks = a_maker(
        tmp_path,
        "Classed",
        oversample=2.6,
        accept={"class_share": {"square": [least, 1]}},
    )
    record = maker.make(tasks[0])
    kept = [index for index in range(13) if found[index] >= least][:5]
    assert kept_in(tmp_path, tasks[0]) == kept
    end = min(13, (kept[-1] // 3 + 1) * 3)
    lost = [index for index in range(end) if found[index] < least]
    assert lost, "there is something to count"
    assert record.num_rejected == {"class_1_too_small": len(lost)}
    assert record.coverage.kept == dict(sorted(Counter(i % 3 for i in kept).items()))
    assert record.coverage.made == dict(sorted(Counter(i % 3 for i in [*kept, *lost]).items()))


def test_a_shard_of_which_nothing_is_kept_names_all_reasons_and_leaves_nothing(tmp_path):
    maker, tasks = a_maker(
        tmp_path,
        accept={"class_share": {"ground": [0, 0.01], "square": [0, 0.5]}},
    )
    with pytest.raises(ShardError) as caught:
        maker.make(tasks[2])
    assert str(caught.value) == (
        "shard tiny-000002: none of 3 samples was accepted (class_0_too_large: 3); loosen "
        "these rules of dataset.accept or the segmenter, or raise dataset.oversample"
    )
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_a_round_that_drops_for_a_target_keeps_only_what_serves_it(tmp_path):
    least, found = 0.1, shares(tmp_path, 1, 13)
    maker, tasks = a_maker(tmp_path, oversample=2.6)
    record = maker.make(steered(tasks[0], min_area={1: least}))
    kept = [index for index in range(13) if found[index] >= least][:5]
    assert kept_in(tmp_path, tasks[0]) == kept
    end = min(13, (kept[-1] // 3 + 1) * 3)
    assert record.num_rejected == {"coverage": sum(share < least for share in found[:end])}


def test_a_ranked_shard_keeps_the_best_of_its_whole_range(tmp_path):
    found = shares(tmp_path, 1, 13)
    maker, tasks = a_maker(tmp_path, oversample=2.6)
    record = maker.make(steered(tasks[0], best_by=1))
    best = sorted(range(13), key=lambda index: (-found[index], index))[:5]
    assert kept_in(tmp_path, tasks[0]) == sorted(best) != [0, 1, 2, 3, 4]
    assert record.num_rejected == {"outranked": 8}
    assert record.coverage.num_made == 13
    assert sum(len(set(batch)) for batch in maker.generator.batches) == 13


def test_classes_of_a_round_go_on_where_the_shard_before_ended(tmp_path):
    maker, tasks = a_maker(tmp_path, "Classed")
    cycle = {"classes": {2: 1, 0: 1}}
    labels = []
    for task in tasks[:2]:
        maker.make(steered(task, **cycle))
        facts = [d for n, d in files_in(tmp_path, task).items() if n.endswith(".json")]
        labels += [SampleFacts.model_validate_json(data).class_label for data in facts]
    assert labels == [0, 2] * 5


def test_a_generator_that_fails_costs_its_shard_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(Sick, "cured", False)
    maker, tasks = a_maker(tmp_path, "Sick", compute=2)
    with pytest.raises(ZeroDivisionError):
        maker.make(tasks[1])
    assert [path for path in (tmp_path / "out").rglob("*.tar") if path.is_file()] == []
    assert maker.make(tasks[2]).num_samples == 3
    monkeypatch.setattr(Sick, "cured", True)
    assert maker.make(tasks[1]).num_samples == 5


def test_a_stop_in_the_middle_of_a_shard_leaves_nothing_of_it(tmp_path):
    maker, tasks = a_maker(tmp_path, num_samples=300, samples_per_shard=300)
    generate = maker.generator.generate

    def stop_at_the_fourth(latents, layers):
        if len(maker.generator.batches) == 3:
            maker.stop.set()
        return generate(latents, layers)

    maker.generator.generate = stop_at_the_fourth
    with pytest.raises(Interrupted, match="tiny-000000: stopped before it was whole"):
        maker.make(tasks[0])
    assert 4 <= len(maker.generator.batches) < 10
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


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
    assert record == find_state(open_store(str(made / "out"))).records[0]
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
    status = make_status(find_state(open_store(str(tmp_path / "out"))), [])
    assert status["state"] == "complete"
    assert status["samples_short"] == 2
    assert status["samples_rejected"] == {"confidence": 2}

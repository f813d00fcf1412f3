import logging

import pytest
from receipts import a_record
from small_job import small_job

from factory.dataset.state import find_state
from factory.manifest.makers import maker_of
from factory.run.watch import MakerWatch, find_driver_maker
from factory.spec import EncodeSpec, RunSpec
from factory.store import open_store

OLD = maker_of("cpu A", {"torch": "2", "pillow": "11"})
NEW = maker_of("cpu A", {"torch": "2", "pillow": "12"})


@pytest.fixture
def lines(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("factory"), "propagate", True)
    caplog.set_level(logging.WARNING)
    return lambda: [r.getMessage() for r in caplog.records if "other_maker" in r.getMessage()]


def test_shards_of_another_maker_are_told_once_with_what_differs_and_how_many(lines):
    watch = MakerWatch({OLD: 12, NEW: 3})
    for _ in range(2):
        watch.joined(NEW)
    assert lines() == [
        "other_maker here='pillow 12' there='pillow 11' shards=12 means='equal samples may have other "
        "bytes; `factory verify` lists who made which shards'"
    ]


def test_shards_of_the_same_maker_or_of_nobody_known_are_not_told(lines):
    MakerWatch({NEW: 12, maker_of("unknown", {}): 3}).joined(NEW)
    assert lines() == []


def test_a_worker_that_is_what_the_driver_is_is_not_told_again(lines):
    watch = MakerWatch({OLD: 1})
    watch.joined(
        maker_of("", {"torch": "2", "pillow": "12"})
    )  # a driver without the workers' device
    watch.joined(NEW)
    assert len(lines()) == 1


def test_a_worker_with_another_processor_is_told_before_its_first_shard(lines):
    watch = MakerWatch({})
    watch.joined(maker_of("", {"torch": "2", "pillow": "12"}))
    watch.joined(NEW)
    assert lines() == []
    watch.joined(maker_of("cpu B", {"torch": "2", "pillow": "12"}))
    (line,) = lines()
    assert "here='device cpu B' there='device cpu A' shards=0" in line


def test_another_driver_s_shard_is_told_when_it_is_seen(lines):
    watch = MakerWatch({})
    watch.joined(NEW)
    watch.committed(a_record(0, device="cpu A", versions={"torch": "2", "pillow": "11"}))
    (line,) = lines()
    assert "here='pillow 11' there='pillow 12'" in line


def test_several_others_are_told_in_one_line(lines):
    watch = MakerWatch({OLD: 1, maker_of("cpu A", {"torch": "1", "pillow": "12"}): 5})
    watch.joined(NEW)
    (line,) = lines()
    assert "here='torch 2' there='torch 1' shards=5 more_makers=1" in line


def test_the_driver_knows_its_device_unless_workers_are_elsewhere():
    here = dict(find_driver_maker(RunSpec(executor="inline"), EncodeSpec()).facts)
    there = dict(find_driver_maker(RunSpec(address="auto"), EncodeSpec()).facts)
    assert {"device", "kernels", "encoder", "torch"} <= set(here)
    assert set(here) - set(there) == {"device", "kernels"}
    assert {name: here[name] for name in there} == there


def test_the_driver_names_itself_as_its_receipts_do(finished, tmp_path):
    spec = small_job(tmp_path)
    records = find_state(open_store(str(finished))).records
    ours = find_driver_maker(spec.run, spec.dataset.encode)
    assert {maker_of(record.device, record.versions) for record in records} == {ours}

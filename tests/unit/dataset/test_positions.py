import pytest
from small_job import make_small

from factory.dataset.positions import Positions
from factory.dataset.state import find_state
from factory.errors import DamageError, JobError
from factory.store import open_store

GAPS = {"dataset.accept": {"min_confidence": 0.45}, "dataset.oversample": 2}


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """The store of a dataset whose shards lack the indices of rejected samples, and its records."""
    folder = tmp_path_factory.mktemp("gaps")
    make_small(folder, GAPS)
    store = open_store(str(folder / "out"))
    return store, find_state(store).records


def test_positions_skip_the_indices_of_rejected_samples_and_go_on_in_the_next_shard(gaps):
    store, records = gaps
    positions = Positions(records)
    found = [positions.find(position, store) for position in range(len(positions))]
    assert len(found) == sum(record.num_samples for record in records)
    assert [record.path for record, _ in found] == [
        record.path for record in records for _ in range(record.num_samples)
    ]
    indices = [index for _, index in found]
    assert indices == sorted(set(indices))
    assert indices != list(range(len(indices))), "else nothing was rejected"


def test_no_shards_have_no_positions():
    assert len(Positions(())) == 0
    assert list(Positions(()).chosen_by(slice(None))) == []


@pytest.mark.parametrize("which", [slice(None), slice(-2, None), slice(3, 99), slice(4, 0, -2)])
def test_a_slice_chooses_as_of_a_list(gaps, which):
    positions = Positions(gaps[1])
    assert list(positions.chosen_by(which)) == list(range(len(positions)))[which]


@pytest.mark.parametrize("which", [slice("a", None), slice(0.5, 2), slice(0, 3, 0)])
def test_a_slice_of_no_positions_is_refused(gaps, which):
    with pytest.raises(JobError, match=r"^position: found slice\(.*; borders of a slice are whole"):
        Positions(gaps[1]).chosen_by(which)


def test_a_lost_table_of_a_shard_with_gaps_is_damage(tmp_path):
    make_small(tmp_path, GAPS)
    store = open_store(str(tmp_path / "out"))
    records = find_state(store).records
    for table in (tmp_path / "out/meta/train").iterdir():
        table.unlink()
    positions = Positions(records)
    gap = next(i for i, r in enumerate(records) if r.num_samples < r.num_indices)
    with pytest.raises(DamageError, match="not the table of its shard's samples"):
        positions.find(sum(record.num_samples for record in records[:gap]), store)

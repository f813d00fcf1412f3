"""The facts of all samples, from the tables beside the shards."""

import pyarrow.compute as pc
import pytest

from factory.dataset.facts_table import read_facts_tables
from factory.dataset.state import find_state
from factory.errors import DamageError, JobError
from factory.pack.facts import SIDECAR_SCHEMA
from factory.store import open_store

TABLE = "meta/train/tiny-000001.parquet"


def read(root, *args):
    store = open_store(str(root))
    return read_facts_tables(store, find_state(store).records, *args)


def test_rows_come_in_the_order_of_the_shards_with_all_columns(finished):
    table = read(finished)
    assert table["index"].to_pylist() == list(range(13))
    assert set(table.schema.names) == set(SIDECAR_SCHEMA.names)


def test_only_the_columns_that_are_wanted_are_read_in_the_order_of_asking(finished):
    assert read(finished, ["confidence", "key"]).schema.names == ["confidence", "key"]


def test_rows_are_chosen_by_columns_that_nobody_wants_to_see(finished):
    table = read(finished, ["key"], pc.field("index") >= 11)
    assert table.to_pydict() == {"key": ["000000011", "000000012"]}


@pytest.mark.parametrize(
    "args", [(["key", "colour"],), (["key"], pc.field("colour") == 1)], ids=["wanted", "asked of"]
)
def test_a_column_that_is_not_there_is_told_with_those_that_are(finished, args):
    with pytest.raises(JobError, match=r"^(columns|where): .*colour.*; .* key, index, "):
        read(finished, *args)


def test_a_dataset_without_shards_has_an_empty_table(finished):
    table = read_facts_tables(open_store(str(finished)), ())
    assert table.schema == SIDECAR_SCHEMA
    assert table.num_rows == 0


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda path: path.unlink(), "not the table of its shard's samples (missing)"),
        (lambda path: path.write_bytes(b"PAR1"), "not the table of its shard's samples"),
        (
            lambda path: path.write_bytes(path.with_name("tiny-000002.parquet").read_bytes()),
            "3 rows, its shard has 5 samples",
        ),
    ],
)
def test_a_table_that_is_not_its_shard_s_is_damage_with_a_path(root, change, found):
    change(root / TABLE)
    with pytest.raises(DamageError) as caught:
        read(root)
    (problem,) = caught.value.problems
    assert (problem.path, problem.kind) == (TABLE, "table")
    assert problem.found.startswith(found)
    assert caught.value.remedy == f"`factory repair {root}` rebuilds it"

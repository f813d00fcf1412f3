"""Finding samples by their facts: the same as a walk over all samples, with bounded work."""

from itertools import product

import pyarrow as pa
import pytest
from damage import change_receipt
from pydantic import ValidationError
from small_job import make_small

import factory
from factory.dataset.views import make_manifest
from factory.manifest.parquet import encode_table, read_table
from factory.serve import search
from factory.serve.queries import SearchQuery
from factory.serve.search import SampleSearch
from factory.serve.view import DatasetView
from factory.store import open_store

TABLE = "meta/train/tiny-000001.parquet"


@pytest.fixture
def made(tmp_path):
    make_small(tmp_path, {"dataset.num_samples": 40})
    return open_store(str(tmp_path / "out"))


def find(store, **query):
    return SampleSearch(store).find(DatasetView(store).snapshot(), SearchQuery(**query))


def walk(store, **query):
    """All pages, joined."""
    found, next_key = [], None
    for _ in range(100):
        page = find(store, **query | ({"from_key": next_key} if next_key else {}))
        found += [tile.key for tile in page.tiles]
        next_key = page.next_key
        if not next_key:
            return found
    raise AssertionError("it never ends")


def test_every_filter_finds_what_a_walk_over_all_samples_finds(made, monkeypatch):
    facts = [sample.facts for sample in factory.open_dataset(made.uri)]
    for path in made.names("meta"):
        table = read_table(made.read(path))
        labels = [index % 3 for index in table["index"].to_pylist()]
        made.replace(path, encode_table(replaced(table, "class_label", labels)))
    middle = sorted(one.confidence for one in facts)[20]
    filters = [
        ({}, lambda _: True),
        ({"min_confidence": middle}, lambda one: one.confidence >= middle),
        ({"max_confidence": middle}, lambda one: one.confidence <= middle),
        ({"generator_class": 1}, lambda one: one.index % 3 == 1),
        ({"mask_class": 2}, lambda one: one.class_px[2] > 0),
        (
            {"mask_class": 2, "min_area": 0.05, "max_area": 0.2},
            lambda one: 0.05 <= one.class_px[2] / (one.width * one.height) <= 0.2,
        ),
        ({"from_key": "000000017"}, lambda one: one.index >= 17),
    ]
    monkeypatch.setattr(search, "MOST_TABLES", 2)
    one_by_one = [(filters[4], 1)]
    for (query, obeys), limit in [*product(filters, (4, 48)), *one_by_one]:
        expected = [one.key for one in facts if obeys(one)]
        assert 0 < len(expected) <= 40
        assert walk(made, limit=limit, **query) == expected, query
        if "from_key" not in query:
            assert walk(made, limit=limit, order="descending", **query) == expected[::-1]


def test_a_request_reads_a_bounded_number_of_tables_and_says_where_to_go_on(made, monkeypatch):
    read = []
    snapshot, lookup = DatasetView(made).snapshot(), made.read
    monkeypatch.setattr(made, "read", lambda path: read.append(path) or lookup(path))
    monkeypatch.setattr(search, "MOST_TABLES", 3)
    engine = SampleSearch(made)
    nowhere = SearchQuery(mask_class=1, min_area=0.999)
    page = engine.find(snapshot, nowhere)
    assert (page.tiles, page.next_key, page.samples_searched) == ([], "000000015", 15)
    assert len(read) == 3
    engine.find(snapshot, nowhere)
    assert len(read) == 3, "tables that were read are kept"
    page = engine.find(snapshot, SearchQuery(mask_class=200))
    assert (page.next_key, page.samples_searched, len(read)) == ("", 40, 3)
    most = max(record.confidence[-1] for record in snapshot.records)
    assert engine.find(snapshot, SearchQuery(min_confidence=most + 0.01)).samples_searched == 40
    assert len(read) == 3, "receipts told that nothing is there"
    monkeypatch.setattr(search, "_KEPT_BYTES", 1)
    engine = SampleSearch(made)
    assert len(engine.find(snapshot, SearchQuery()).tiles) == 15
    assert not engine._kept, "a table that is larger than the memory for all is not kept"


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.slice(1),
        lambda table: table.drop_columns("confidence"),
        lambda table: table.take(list(reversed(range(len(table))))),
        lambda table: replaced(table, "index", [9 * 10**8 + i for i in range(5)]),
        lambda table: replaced(table, "class_px", [[1]] * 5),
        lambda table: replaced(table, "class_px", [[1, 2, 3, 4, 5], [1, 2, 3], *[[1] * 4] * 3]),
        lambda table: replaced(table, "class_px", [None] * 5),
        lambda table: replaced(table, "width", [0] * 5),
        lambda table: table.set_column(0, "confidence", pa.array(["a"] * 5)),
    ],
    ids=range(9),
)
def test_a_table_that_is_not_that_of_its_shard_is_counted_and_passed_over(made, change):
    data = made.read(TABLE)
    table = change(read_table(data))
    made.replace(TABLE, encode_table(table))
    page = find(made, limit=48)
    is_shorter = table.num_rows == 4
    assert page.shards_unreadable == (not is_shorter)
    assert len(page.tiles) == 39 if is_shorter else 35
    made.replace(TABLE, b"no table")
    assert find(made, limit=48).shards_unreadable == 1
    made.remove(TABLE)
    assert find(made, limit=48).shards_unreadable == 1


def replaced(table, name, values):
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, pa.array(values, table.schema.types[place]))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"min_area": "0.5"}, "needs mask_class"),
        ({"mask_class": "1", "min_area": "0.5", "max_area": "0.4"}, "must not be below min_area"),
        ({"min_confidence": "0.5", "max_confidence": "0.4"}, "must not be below min_confidence"),
        ({"min_confidence": "nan"}, "finite number"),
        ({"from_key": "12"}, "match pattern"),
        ({"limit": "49"}, "less than or equal to 48"),
        ({"mask_class": "255"}, "less than or equal to 254"),
        ({"order": "random"}, "'ascending' or 'descending'"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(query, told):
    with pytest.raises(ValidationError, match=told):
        SearchQuery.model_validate(query)


def test_names_of_a_label_table_with_fewer_classes_are_left_out(made):
    change_receipt(made.root, confidence=[0.0, 0.0, 0.5, 1.0, 1.0])
    assert make_manifest(made).meaning.generator_classes is not None
    made.remove("labels.json")
    assert {tile.class_name for tile in find(made).tiles} == {""}

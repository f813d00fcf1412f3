import pytest
from receipts import a_record

from factory.manifest.coverage import Coverage
from factory.manifest.records import total_of
from factory.manifest.table import table_of
from factory.manifest.totals import Totals, agreements_in

RECORDS = [
    a_record(0, coverage=Coverage(agreement=[1, 2])),
    a_record(1, class_images=[1], class_px=[5], ignore_px=7, num_rejected={}),
    a_record(2, path="data/val/tiny-val-000000.tar", coverage=Coverage(agreement=[0, 1, 4])),
    a_record(10, path="data/train/tiny-000009.tar", coverage=Coverage(made={-1: 3})),
]


def test_tables_add_up_to_what_their_receipts_do_in_any_pieces():
    whole = total_of(RECORDS)
    for cut in range(len(RECORDS)):
        totals = Totals()
        for part in (RECORDS[:cut], RECORDS[cut:]):
            totals.add_table(table_of(part))
        assert totals == whole


def test_sums_are_those_of_the_fields():
    totals = total_of(RECORDS)
    assert totals.num_samples == 12
    assert totals.size_bytes == 4 * 10_240
    assert totals.class_images == [10, 3]
    assert totals.class_px == [9005, 3 * 72]
    assert totals.ignore_px == 7
    assert totals.agreement == [1, 3, 4]
    assert totals.is_rejected
    assert (totals.samples_of("train"), totals.shards_of("train")) == (9, 3)
    assert (totals.samples_of("val"), totals.shards_of("test")) == (3, 0)
    assert totals.last_number == 9


def test_nothing_adds_up_to_nothing():
    assert total_of([]) == Totals()
    assert (Totals().num_samples, Totals().last_number, Totals().is_rejected) == (0, 0, False)


@pytest.mark.parametrize("text", ['{"agreement"', '["agreement"]', '{"agreement": 3}'])
def test_a_coverage_that_is_none_is_an_error(text):
    table = table_of(RECORDS[:1])
    place = table.schema.get_field_index("coverage")
    with pytest.raises(ValueError, match=r"coverage|delimiter"):
        agreements_in(table.set_column(place, "coverage", [[text]]))

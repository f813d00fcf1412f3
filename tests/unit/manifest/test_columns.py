from typing import Annotated

import pyarrow as pa
import pytest
from pydantic import Field

from factory.manifest.columns import facts_of, row_of, schema_of
from factory.manifest.labels import Count, Facts, Name


class Inner(Facts):
    x: int = 1


class Row(Facts):
    number: Annotated[int, pa.int32()]
    large: int
    share: Annotated[float, Field(ge=0)]
    name: str
    boxes: list[list[int]]
    counts: dict[Name, Count]
    inner: Inner | None = None


class More(Row):
    score: list[float]


ROW = Row(number=1, large=2**40, share=0.5, name="a", boxes=[[1], []], counts={"b": 2, "a": 1})


def test_each_type_of_a_field_has_its_column():
    assert schema_of(Row).equals(
        pa.schema(
            [
                ("number", pa.int32()),
                ("large", pa.int64()),
                ("share", pa.float64()),
                ("name", pa.string()),
                ("boxes", pa.list_(pa.list_(pa.int64()))),
                ("counts", pa.map_(pa.string(), pa.int64())),
                ("inner", pa.string()),
            ]
        )
    )


def test_fields_of_several_models_stand_in_their_order_and_once():
    class Other(Facts):
        extra: str

    names = schema_of(Row, Other, More).names
    assert names == [*Row.model_fields, "extra", "score"]


@pytest.mark.parametrize("kind", [bool, tuple[int, int], int | None, set[str]])
def test_a_type_without_a_rule_is_refused(kind):
    class Odd(Facts):
        odd: kind

    with pytest.raises(TypeError, match=r"no column for this type; add a rule to columns\.py"):
        schema_of(Odd)


@pytest.mark.parametrize("inner", [None, Inner(x=3)])
def test_a_row_gives_back_the_model_it_was_made_of(inner):
    model = ROW.model_copy(update={"inner": inner})
    table = pa.Table.from_pylist([row_of(model)], schema=schema_of(Row))
    assert Row.model_validate(facts_of(table.to_pylist()[0], Row)) == model


def test_maps_are_sorted_so_that_equal_models_give_equal_rows():
    turned = ROW.model_copy(update={"counts": {"a": 1, "b": 2}})
    assert row_of(turned) == row_of(ROW)
    assert row_of(ROW)["counts"] == [("a", 1), ("b", 2)]


def test_a_row_may_lack_what_is_kept_as_json_and_no_map():
    row = row_of(ROW)
    del row["inner"]
    assert facts_of(row, Row)["inner"] is None
    del row["counts"]
    with pytest.raises(KeyError):
        facts_of(row, Row)

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from factory.data import Instances, Sample
from factory.manifest.measure import UNKNOWN, Measures
from factory.pack.facts import (
    SIDECAR_SCHEMA,
    InstanceFacts,
    SampleFacts,
    encode_facts,
    encode_sidecar,
    make_facts,
    read_sidecar,
)


def a_sample(class_label=-1, confidence=0.5, index=7):
    mask = np.zeros((4, 6), np.uint8)
    mask[0] = 1
    mask[1, :2] = 255
    image = np.zeros((4, 6, 3), np.uint8)
    return Sample(index, image, mask, class_label, confidence, (16, 6, 0))


def facts_of(sample, names=()):
    return make_facts(sample, dataset_id="d" * 16, class_names=names)


def test_the_facts_of_a_sample_are_those_of_its_arrays():
    assert facts_of(a_sample(1), ("cat", "dog")) == SampleFacts(
        key="000000007",
        index=7,
        dataset_id="d" * 16,
        class_label=1,
        class_name="dog",
        confidence=0.5,
        width=6,
        height=4,
        class_px=[16, 6, 0],
        ignore_px=2,
    )


@pytest.mark.parametrize("label", [-1, 2, 99])
def test_a_class_without_a_name_has_an_empty_one(label):
    assert facts_of(a_sample(label), ("cat", "dog")).class_name == ""


@pytest.mark.parametrize("confidence", [0.0, 1.0, 1e-6, 1e-9, 0.123456789, 1 / 3])
@pytest.mark.parametrize("label", [-1, 0])
def test_every_sample_has_the_same_keys_no_null_and_floats_as_floats(confidence, label):
    data = encode_facts(facts_of(a_sample(label, confidence), ("cat",)))
    assert data.endswith(b"\n")
    assert data.count(b"\n") == 1
    read = json.loads(data)
    assert list(read) == list(SampleFacts.model_fields)
    assert None not in read.values()
    assert type(read["confidence"]) is float
    assert read["confidence"] == pytest.approx(confidence, abs=1e-6)
    assert all(type(px) is int for px in read["class_px"])


def test_facts_read_back_are_equal():
    facts = facts_of(a_sample())
    assert SampleFacts.model_validate_json(encode_facts(facts)) == facts


def test_facts_with_an_unknown_key_are_refused():
    data = json.loads(encode_facts(facts_of(a_sample()))) | {"colour": 1}
    with pytest.raises(ValidationError):
        SampleFacts.model_validate(data)


def test_the_sidecar_has_the_facts_as_columns_and_a_row_for_each_sample():
    rows = [facts_of(a_sample(index=i, confidence=i / 8)) for i in range(5)]
    measures = [
        Measures(sharpness=1.5, border=0.25, dhash=f"{i:016x}", latent_cell=i) for i in range(5)
    ]
    data = encode_sidecar(rows, measures)
    table = pq.read_table(io.BytesIO(data))
    assert table.schema.equals(SIDECAR_SCHEMA)
    assert table.column_names == [*SampleFacts.model_fields, *Measures.model_fields]
    assert read_sidecar(data) == list(zip(rows, measures, strict=True))


def test_an_unmeasured_sidecar_says_that_nothing_is_known():
    rows = [facts_of(a_sample())]
    assert read_sidecar(encode_sidecar(rows)) == [(rows[0], UNKNOWN)]


def test_a_sidecar_of_the_first_version_is_still_read():
    rows = [facts_of(a_sample())]
    table = pq.read_table(io.BytesIO(encode_sidecar(rows))).select(list(SampleFacts.model_fields))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    assert read_sidecar(sink.getvalue()) == [(rows[0], UNKNOWN)]


def test_a_damaged_sidecar_is_told():
    with pytest.raises(ValueError, match="not a table of samples"):
        read_sidecar(b"PAR1")


def test_a_sidecar_without_samples_keeps_its_columns():
    table = pq.read_table(io.BytesIO(encode_sidecar([])))
    assert table.schema.equals(SIDECAR_SCHEMA)
    assert table.num_rows == 0


def test_tables_of_all_shards_fit_together_even_if_no_class_was_found():
    empty = facts_of(a_sample()).model_copy(update={"class_px": []})
    tables = [
        pq.read_table(io.BytesIO(encode_sidecar([row]))) for row in (empty, facts_of(a_sample()))
    ]
    assert pa.concat_tables(tables).num_rows == 2


def test_facts_have_lists_for_instances_even_if_there_are_none():
    empty = Instances(np.zeros((2, 3), np.uint16), (), (), (), ())
    image, mask = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.uint8)
    sample = Sample(1, image, mask, -1, 0.5, (6,), instances=empty)
    facts = make_facts(sample, dataset_id="d" * 16, class_names=())
    assert isinstance(facts, InstanceFacts)
    assert (facts.instance_class, facts.instance_box_xyxy, facts.instance_px) == ([], [], [])

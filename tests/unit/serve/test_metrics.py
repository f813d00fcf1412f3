"""Metrics in Prometheus' text format, read back by Prometheus' own parser."""

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from factory.manifest.labels import MaskClass
from factory.serve.metrics import encode_metrics
from factory.serve.view import DatasetView
from factory.store import open_store


@pytest.fixture
def snapshot(finished):
    return DatasetView(open_store(str(finished))).snapshot()


def read(text):
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(family, **labels):
    (found,) = [s.value for s in family.samples if labels.items() <= s.labels.items()]
    return found


def test_what_is_counted_is_what_the_dataset_holds(snapshot):
    found = read(encode_metrics(snapshot))
    assert value(found["factory_samples_planned"]) == value(found["factory_samples"]) == 13
    assert value(found["factory_shards"], state="committed") == 3
    assert value(found["factory_bytes"]) == sum(r.size_bytes for r in snapshot.records)
    pixels = found["factory_class_pixels"].samples
    assert sum(sample.value for sample in pixels) == 13 * 32 * 32


def test_every_family_is_told_once_with_a_type_and_a_sentence(snapshot):
    lines = encode_metrics(snapshot).splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) > 15
    assert [line.split()[2] for line in lines if line.startswith("# HELP")] == names
    counters = {line.split()[2] for line in lines if line.endswith(" counter")}
    assert {name for name in names if name.endswith("_total")} == counters


def test_names_that_somebody_made_up_stay_names(snapshot):
    name = 'a "b"\\c\nfactory_bytes_total 7'
    label = MaskClass(id=0, name=name, colour=(0, 0, 0))
    labels = [label, *snapshot.meaning.labels[1:]]
    meaning = snapshot.meaning.model_copy(update={"labels": labels})
    found = read(encode_metrics(replace(snapshot, meaning=meaning)))
    assert name in {sample.labels["class"] for sample in found["factory_class_samples"].samples}
    assert len(found["factory_bytes"].samples) == 1

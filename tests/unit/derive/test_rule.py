import shutil

import numpy as np
import pyarrow as pa
import pytest
from small_job import make_small

import factory
from factory.dataset.near_train import find_repeats
from factory.dataset.views import make_manifest
from factory.derive.rule import Rule, Source, check_rule, choose, parse_area, parse_areas
from factory.errors import JobError
from factory.manifest.parquet import encode_table, read_table
from factory.store import open_store


@pytest.mark.parametrize("text", ["nucleus", "nucleus=", "=0..1", "nucleus=a..b", "nucleus=0.1"])
def test_a_range_that_is_none_is_told_with_an_example(text):
    with pytest.raises(JobError, match=r"such as 'nucleus=0.05..0.6'"):
        parse_area(text)


def test_two_ranges_of_one_class_are_told():
    assert parse_areas(["a=0.1..", "b=..1"]) == {"a": (0.1, 1.0), "b": (0.0, 1.0)}
    with pytest.raises(JobError, match="--area: found 'a' twice; each class once"):
        parse_areas(["a=0.1..", "b=..1", "a=..0.5"])


def test_a_range_may_be_open_at_either_end_and_a_name_may_have_an_equals_sign():
    assert parse_area("nucleus=0.05..0.6") == ("nucleus", (0.05, 0.6))
    assert parse_area("a=b=..0.6") == ("a=b", (0.0, 0.6))
    assert parse_area("nucleus=0.1..") == ("nucleus", (0.1, 1.0))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (Rule(min_confidence=1.5), "--min-confidence: found 1.5; 0 to 1"),
        (Rule(min_agreement=-0.5), "--min-agreement: found -0.5; 0 to 1"),
        (Rule(area={"a": (0.5, 0.2)}), "--area: found a=0.5..0.2"),
        (Rule(area={"a": (0.5, 2.0)}), "--area: found a=0.5..2"),
        (Rule(min_confidence=float("nan")), "--min-confidence: found nan"),
    ],
)
def test_limits_that_are_no_shares_are_told(rule, told):
    with pytest.raises(JobError) as caught:
        check_rule(rule)
    assert str(caught.value).startswith(told)


def test_of_a_chain_of_repeats_those_near_a_kept_one_are_dropped():
    """0 and 1 are near, 1 and 2 are near, 0 and 2 are not: 2 stays, because 1 does not."""
    chain = np.array([0, 0b1111, 0b11111111, 0, 2**63], dtype=np.uint64)
    assert find_repeats(chain) == {1, 3, 4}
    assert find_repeats(np.zeros(0, dtype=np.uint64)) == set()


@pytest.fixture(scope="module")
def parts(finished, tmp_path_factory):
    """A dataset in which every third sample shows none of class 2, and what its table says."""
    root = tmp_path_factory.mktemp("parts") / "out"
    shutil.copytree(finished, root)
    store = open_store(str(root))
    for path in store.names("meta"):
        table = read_table(store.read(path))
        px = table["class_px"].to_pylist()
        for index, row in zip(table["index"].to_pylist(), px, strict=True):
            row[0], row[2] = (row[0] + row[2], 0) if index % 3 == 0 else (row[0], row[2])
        column = table.schema.get_field_index("class_px")
        store.replace(path, encode_table(table.set_column(column, "class_px", [px])))
    return Source(store, make_manifest(store))


def indices(source, rule):
    return [chosen.index for chosen in choose([source], rule)["train"]]


def test_a_sample_without_a_class_that_is_asked_for_is_left_out(parts):
    assert indices(parts, Rule(("cluster_02",))) == [i for i in range(13) if i % 3]
    assert indices(parts, Rule(("cluster_01",))) == list(range(13))


def test_masks_that_were_not_compared_have_no_agreement_to_ask_for(parts):
    with pytest.raises(JobError) as caught:
        choose([parts], Rule(min_agreement=0.5))
    assert str(caught.value).startswith(
        f"--min-agreement: {parts.store.uri} has masks that were not"
    )
    assert "`dataset.agreement` in its job, or leave the option out" in str(caught.value)


def test_pictures_too_small_for_a_hash_have_no_repeats_to_drop(tmp_path):
    make_small(tmp_path)
    store = open_store(str(tmp_path / "out"))
    for path in store.names("meta"):
        table = read_table(store.read(path))
        column = table.schema.get_field_index("dhash")
        none = pa.array([""] * len(table))
        store.replace(path, encode_table(table.set_column(column, "dhash", none)))
    source = Source(store, make_manifest(store))
    with pytest.raises(JobError, match=r"--without-repeats: no sample has .*at least 8 x 9 px"):
        choose([source], Rule(without_repeats=True))


@pytest.mark.parametrize(
    ("rule", "option"),
    [(Rule(("nukleus",)), "--class"), (Rule(area={"nukleus": (0.0, 1.0)}), "--area")],
)
def test_a_class_that_no_mask_has_is_told_with_its_option(parts, rule, option):
    with pytest.raises(JobError) as caught:
        choose([parts], rule)
    assert str(caught.value).startswith(f"{option}: ")
    assert "nukleus" in str(caught.value)
    assert "cluster_00" in str(caught.value)


def test_limits_of_an_area_belong_to_the_range(parts, finished):
    areas = [sample.facts.class_px[1] / 32**2 for sample in factory.open_dataset(finished)]
    least, most = sorted(areas)[3], sorted(areas)[9]
    found = indices(parts, Rule(area={"cluster_01": (least, most)}))
    assert found == [i for i, area in enumerate(areas) if least <= area <= most]
    assert {areas.index(least), areas.index(most)} <= set(found)

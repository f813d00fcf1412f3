import os

import pytest
from small_job import make_small

import factory
from factory.derive.copy import derive_dataset
from factory.derive.key_list import KeyList, read_key_list
from factory.derive.rule import Rule
from factory.errors import JobError
from factory.manifest.parquet import read_table
from factory.store import open_store


def written(folder, text):
    path = folder / "bad.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_list_has_a_key_on_each_line_and_may_say_whose_they_are(tmp_path):
    text = (
        "\ufeff# dataset 0123456789abcdef\r\n# a remark\r\n\r\n 000000007 \n000000002\n000000007\n"
    )
    assert read_key_list(written(tmp_path, text)) == KeyList(frozenset({2, 7}), "0123456789abcdef")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "found no key; a key of nine digits on each line"),
        ("# dataset 0123456789abcdef\n\n", "found no key"),
        ("000000001\n12\n", "line 2: found '12'; a key of nine digits"),
        ("000000001,000000002\n", "line 1: found '000000001,000000002'"),
        ("\u0661" * 9, "line 1: found"),
        ("../../etc/passwd\n", "line 1: found '../../etc/passwd'"),
        (b"\xff\xfe0\n", "cannot read it (not UTF-8 text)"),
    ],
)
def test_a_file_that_is_no_list_of_keys_is_told_in_one_line(tmp_path, text, told):
    with pytest.raises(JobError) as caught:
        read_key_list(written(tmp_path, text))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"--without-keys: {tmp_path}")


def test_a_file_that_is_none_is_told(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, found in (
        ("missing.txt", "no such file"),
        ("pipe", "no plain file"),
        (".", "a folder"),
    ):
        with pytest.raises(JobError) as caught:
            read_key_list(tmp_path / name)
        assert str(caught.value).startswith(f"--without-keys: {tmp_path / name}: {found}")
        assert ("a file with one key per line" in str(caught.value)) == (name != "missing.txt")


def test_the_identity_holds_a_digest_of_the_keys_and_nothing_without_them():
    few, more = Rule(without_keys=KeyList(frozenset({1}))), KeyList(frozenset({1, 2}))
    assert "without_keys" not in Rule().plain()
    assert few.plain() != Rule(without_keys=more).plain()
    assert more.plain()["count"] == 2


@pytest.mark.slow
def test_samples_of_a_list_are_dropped_and_the_others_know_where_they_are_from(tmp_path):
    make_small(tmp_path)
    source, few = open_store(str(tmp_path / "out")), open_store(str(tmp_path / "few"))
    whose = factory.open_dataset(tmp_path / "out").manifest.dataset_id

    def derive(keys, dataset_id=""):
        return derive_dataset([source], few, Rule(without_keys=KeyList(keys, dataset_id)))

    with pytest.raises(JobError, match=r"keys of dataset 0{16}; .* is " + whose):
        derive(frozenset({0}), "0" * 16)
    with pytest.raises(JobError, match=r"2 of 3 keys are no samples of .*the first is 000000013"):
        derive(frozenset({0, 999_999_999, 13}))
    assert few.read("plan/round-0000.json") is None, "nothing is written before all is known"
    assert derive(frozenset({0, 6, 12}), whose).num_samples == 10
    origins = read_table(few.read("origins.parquet"))
    assert origins["origin"].to_pylist() == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert set(origins["dataset_id"].to_pylist()) == {whose}

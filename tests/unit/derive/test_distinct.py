import shutil

import pytest
from small_job import make_small

import factory
from factory.derive.copy import derive_dataset
from factory.derive.distinct import check_output
from factory.derive.key_list import read_key_list
from factory.derive.rule import Rule
from factory.errors import DamageError, JobError
from factory.store import open_store

pytestmark = pytest.mark.slow


def derive(sources, output, rule=None):
    stores = [open_store(str(source)) for source in sources]
    return derive_dataset(stores, open_store(str(output)), rule or Rule())


@pytest.fixture
def ways(finished, tmp_path, monkeypatch):
    """Four ways to name one dataset, and a copy of it."""
    (tmp_path / "link").symlink_to(finished)
    shutil.copytree(finished, tmp_path / "copy")
    monkeypatch.chdir(finished.parent)
    return {
        "again": finished,
        "relative": finished.name,
        "link": tmp_path / "link",
        "file": f"file://{finished}",
        "dots": finished / ".." / finished.name,
        "copy": tmp_path / "copy",
    }


@pytest.mark.parametrize("way", ["again", "relative", "link", "file", "dots", "copy"])
@pytest.mark.parametrize("rule", [Rule(), Rule(without_repeats=True)])
def test_a_dataset_is_merged_with_itself_under_no_name(way, rule, ways, finished, tmp_path):
    with pytest.raises(JobError, match=r"the dataset [0-9a-f]{16}, as .*; each dataset once"):
        derive([finished, ways[way]], tmp_path / "twice", rule)
    assert not (tmp_path / "twice").exists()


def test_one_that_has_grown_is_the_same_dataset(finished, tmp_path):
    make_small(tmp_path, {"dataset.num_samples": 15})
    with pytest.raises(JobError, match="leave one of the two out"):
        derive([finished, tmp_path / "out"], tmp_path / "twice")


def test_copies_of_one_sample_count_once_or_are_told(finished, tmp_path):
    facts = [sample.facts for sample in factory.open_dataset(finished)]
    least = sorted(one.confidence for one in facts)[6]
    most = sorted(one.class_px[1] for one in facts)[5] / 32**2
    half = derive([finished], tmp_path / "half", Rule(min_confidence=least)).num_samples
    derive([finished], tmp_path / "small", Rule(area={"cluster_01": (0.0, most)}))
    shared = sum(one.confidence >= least and one.class_px[1] / 32**2 <= most for one in facts)
    assert 0 < shared < half < 13
    for first, other, count in (
        (finished, tmp_path / "half", half),
        (tmp_path / "half", finished, half),
        (tmp_path / "half", tmp_path / "small", shared),
    ):
        with pytest.raises(JobError, match=rf"{count} of its samples are copies .*--without-rep"):
            derive([first, other], tmp_path / "both")
    merged = derive(
        [tmp_path / "half", tmp_path / "small"], tmp_path / "both", Rule(without_repeats=True)
    )
    images = [sample.image.tobytes() for sample in factory.open_dataset(tmp_path / "both")]
    assert len(set(images)) == len(images) == merged.num_samples


def test_parts_that_share_no_sample_are_merged(finished, tmp_path):
    confidence = sorted(sample.facts.confidence for sample in factory.open_dataset(finished))
    derive([finished], tmp_path / "sure", Rule(min_confidence=confidence[6]))
    sure = {s.image.tobytes() for s in factory.open_dataset(tmp_path / "sure")}
    keys = [s.key for s in factory.open_dataset(finished) if s.image.tobytes() in sure]
    (tmp_path / "keys.txt").write_text("\n".join(keys))
    rule = Rule(without_keys=read_key_list(tmp_path / "keys.txt"))
    derive([finished], tmp_path / "unsure", rule)
    assert derive([tmp_path / "sure", tmp_path / "unsure"], tmp_path / "all").num_samples == 13


def test_a_damaged_table_of_origins_is_told(finished, tmp_path):
    for name in ("a", "b"):
        derive([finished], tmp_path / name, Rule(min_confidence=0.45 if name == "a" else 0.0))
    (tmp_path / "a/origins.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(DamageError, match=r"origins\.parquet: not the table of its samples'"):
        derive([tmp_path / "a", tmp_path / "b"], tmp_path / "c")


@pytest.mark.parametrize("place", ["{0}", "{0}/new", "{0}/data/train", "{1}/link", "{1}/link/new"])
def test_a_dataset_is_written_into_no_other(place, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    output = place.format(tmp_path / "out", tmp_path)
    before = sorted((tmp_path / "out").rglob("*"))
    for source in (finished, tmp_path / "out"):
        if source == finished and place in ("{0}", "{1}/link"):
            continue  # told as another dataset's folder, see test_copy.py
        with pytest.raises(JobError, match=r"none of the sources|lies in a dataset; choose"):
            derive([source], output)
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_nor_below_its_source_in_a_bucket(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    source = open_store("s3://bucket/cells")
    for output in ("s3://bucket/cells", "s3://bucket/cells/", "s3://bucket/cells/new"):
        with pytest.raises(JobError, match=r"none of the sources|lies in a dataset"):
            check_output(open_store(output), [source])
    check_output(open_store("s3://bucket/cells2"), [source])

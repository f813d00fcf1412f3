import pytest
import torch
from small_job import Witness, make_small, small_job

from factory.fit import fitted as fitting
from factory.fit.fitted import find_fitted, fit_key, fit_segmenter
from factory.generate.weights.find import LocalWeights
from factory.job import run_job
from factory.manifest.paths import SEGMENTER_PATH
from factory.segment.segmenter_file import decode_segmenter, encode_segmenter
from factory.segment.tree.hierarchy import read_hierarchy
from factory.store import LocalStore
from factory.store.cache import cache_folder

pytestmark = pytest.mark.slow
SMALL_FIT = {"num_images": 8, "pixels_per_image": 64}
ROBUST = {"kind": "klish", "cut": 4, "initial_clusters": 12, "fit": SMALL_FIT, "layers": ["s16"]}
PUBLISHED = ROBUST | {"merging": "published"}
DISTIL = {"kind": "distil", "teacher": ROBUST, "samples": 12, "min_agreement": 0}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def dataset_of(folder, segmenter):
    return small_job(folder, {"dataset.segmenter": segmenter}).dataset


def fit(dataset):
    weights = LocalWeights(None, "")
    device = torch.device("cpu")
    return fit_segmenter(dataset, weights, device=device, on_progress=lambda *_: None)


def as_of_old(data):
    """The same fit as it was before files said how corners are treated."""
    tensors, facts = decode_segmenter(data, source="test")
    return encode_segmenter(tensors, facts.model_copy(update={"corners": "aligned"}))


def turned(data):
    """Another fit, with the nodes' planes in another order."""
    tensors, facts = decode_segmenter(data, source="test")
    flipped = {name: tensor.flip(0) for name, tensor in tensors.items()}
    return encode_segmenter(flipped, facts)


def name_of(dataset):
    return fitting._cache_name(dataset, "")


def keep(dataset, data):
    """Leave `data` in the cache, as an older version would have."""
    LocalStore(str(cache_folder("segmenters"))).replace(f"{fit_key(dataset, '')}.safetensors", data)


@pytest.mark.parametrize("segmenter", [ROBUST, DISTIL], ids=["klish", "a head that it taught"])
def test_a_cached_fit_of_an_older_fitter_is_fitted_again(tmp_path, segmenter):
    dataset = dataset_of(tmp_path, segmenter)
    whole = fit(dataset)
    assert find_fitted(dataset, "") == whole
    old = turned(whole)
    (cache_folder("segmenters") / name_of(dataset)).unlink()
    keep(dataset, old)
    assert find_fitted(dataset, "") is None
    assert fit(dataset) == find_fitted(dataset, "") == whole


def test_a_head_is_not_taught_by_a_cached_fit_of_an_older_fitter(tmp_path):
    """With an empty cache, and with an old teacher in it, the same bytes."""
    whole = fit(dataset_of(tmp_path, DISTIL))
    teacher = dataset_of(tmp_path, ROBUST)
    keep(teacher, turned(as_of_old(fit(teacher))))
    for dataset in (teacher, dataset_of(tmp_path, DISTIL)):
        (cache_folder("segmenters") / name_of(dataset)).unlink()
    assert fit(dataset_of(tmp_path, DISTIL)) == whole


@pytest.mark.parametrize(
    "segmenter",
    [
        PUBLISHED,
        {"kind": "kmeans", "num_clusters": 4, "fit": SMALL_FIT},
        DISTIL | {"teacher": PUBLISHED},
    ],
    ids=["published", "kmeans", "a head that published taught"],
)
def test_what_is_fitted_as_ever_is_taken_from_the_cache_and_has_its_old_bytes(tmp_path, segmenter):
    dataset = dataset_of(tmp_path, segmenter)
    whole = fit(dataset)
    assert as_of_old(whole) == whole
    assert b"corners" not in whole
    assert find_fitted(dataset, "") == whole


def test_a_file_that_a_job_names_is_taken_as_it_is(tmp_path):
    old = as_of_old(fit(dataset_of(tmp_path, ROBUST)))
    (tmp_path / "old").write_bytes(old)
    dataset = dataset_of(tmp_path, {"kind": "klish", "cut": 4, "fitted": str(tmp_path / "old")})
    assert find_fitted(dataset, "") == old


def test_the_fit_whose_nodes_a_job_names_is_taken_although_it_is_of_an_older_fitter(tmp_path):
    dataset = dataset_of(tmp_path, ROBUST)
    new = fit(dataset)
    old = turned(as_of_old(new))
    keep(dataset, old)
    trees = [read_hierarchy(decode_segmenter(data, source="test")[0]) for data in (old, new)]
    unnamed = {name: value for name, value in ROBUST.items() if name != "cut"}
    for tree, data in zip(trees, (old, new), strict=True):
        labels = [
            {"name": f"c{node}", "colour": f"#0000{node:02x}", "nodes": [node]}
            for node in range(12)
        ]
        named = dataset_of(
            tmp_path, unnamed | {"labels": {"tree": tree.digest(), "labels": labels}}
        )
        assert fit_key(named, "") == fit_key(dataset, "")
        assert find_fitted(named, "") == data
    assert find_fitted(dataset, "") == new
    keep(dataset, b"half a file")
    assert find_fitted(named, "") == new


def test_no_fit_goes_on_where_an_older_fitter_stopped(tmp_path, monkeypatch):
    names = {}
    for kind, segmenter in (("robust", ROBUST), ("published", PUBLISHED)):
        dataset = dataset_of(tmp_path, segmenter)
        names[kind] = {fitting._checkpoint_name(dataset, "", torch.device("cpu"))}
        with monkeypatch.context() as older:
            older.setattr(fitting, "treatment_of", lambda _: "")
            names[kind].add(fitting._checkpoint_name(dataset, "", torch.device("cpu")))
    assert {kind: len(found) for kind, found in names.items()} == {"robust": 2, "published": 1}


def shards_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.tar"))}


def test_a_dataset_goes_on_with_the_masks_that_it_has(tmp_path, monkeypatch):
    """Its fit was made by an older version, and the cache has that fit too."""
    overrides = {"dataset.segmenter": ROBUST}
    dataset = dataset_of(tmp_path, ROBUST)
    new = fit(dataset)
    keep(dataset, as_of_old(new))
    with monkeypatch.context() as older:
        older.setattr(fitting, "treatment_of", lambda _: "")
        make_small(tmp_path / "whole", overrides | {"dataset.num_samples": 15})
        make_small(tmp_path / "grown", overrides | {"dataset.num_samples": 5})
    run_job(small_job(tmp_path / "grown", overrides | {"dataset.num_samples": 15}), Witness())
    stored = (tmp_path / "grown" / "out" / SEGMENTER_PATH).read_bytes()
    assert decode_segmenter(stored, source="test")[1].corners == "aligned"
    assert shards_of(tmp_path / "grown") == shards_of(tmp_path / "whole") != {}
    make_small(tmp_path / "new", overrides | {"dataset.num_samples": 15})
    assert shards_of(tmp_path / "new") != shards_of(tmp_path / "whole"), "masks differ"

"""Datasets whose masks are compared with those of other methods: from the job to the facts."""

import numpy as np
import pyarrow.compute as pc
import pytest
from small_job import EXACT_PARTS, small_document

import factory
from factory.care.repair import find_repairs
from factory.cli.app import app
from factory.dataset.state import find_state
from factory.dataset.status import make_status
from factory.derive.copy import derive_dataset
from factory.derive.rule import Rule, Source, choose
from factory.errors import DamageError, JobError, StoreError
from factory.manifest.coverage import merge_coverage
from factory.manifest.paths import OPINIONS_PATH
from factory.run.calibrate import calibrate
from factory.spec.read import check_job
from factory.store import open_store

pytestmark = pytest.mark.slow

KMEANS = {"kind": "kmeans", "num_clusters": 4, "fit": {"num_images": 8, "pixels_per_image": 64}}
FINER = KMEANS | {"num_clusters": 6}
DIRECTION = {
    "kind": "direction",
    "steps": 20,
    "images_per_step": 4,
    "two_modes": "off",
    "foreground_share": [0.0, 1.0],
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def job(folder, *others, overrides=None):
    agreement = {"others": [{"method": other} for other in others]}
    return small_document(folder, {"dataset.agreement": agreement, **(overrides or {})})


def run(document):
    factory.run_job(document, progress=False)
    return factory.open_dataset(document["output"]["uri"])


def masks_of(folder, segmenter):
    document = small_document(folder, {"dataset.segmenter": segmenter})
    return {sample.key: sample.mask for sample in run(document)}


def mean_iou(ours, theirs):
    return np.mean(
        [
            ((ours == k) & (theirs == k)).sum() / ((ours == k) | (theirs == k)).sum()
            for k in np.union1d(ours, theirs)
        ]
    )


def test_a_method_agrees_with_itself_and_less_with_another(tmp_path):
    found = run(job(tmp_path / "same", KMEANS))
    assert {sample.facts.agreement for sample in found} == {1.0}
    alone = {s.key: s.facts.agreement for s in run(job(tmp_path / "other", FINER))}
    assert min(alone.values()) < 1
    both = run(job(tmp_path / "both", KMEANS, FINER))
    for sample in both:
        assert sample.facts.agreement == pytest.approx((1 + alone[sample.key]) / 2, abs=1e-5)


def test_the_finer_method_is_merged_into_the_other_by_shared_pixels(tmp_path):
    found = run(job(tmp_path / "compared", FINER, overrides={"dataset.segmenter": EXACT_PARTS}))
    ours, theirs = masks_of(tmp_path / "ours", EXACT_PARTS), masks_of(tmp_path / "theirs", FINER)
    # The toy's clusters are so pure that these samples alone give the table of 64 other images.
    counts = np.zeros((6, 4), int)
    for key in ours:
        np.add.at(counts, (theirs[key].ravel(), ours[key].ravel()), 1)
    table = counts.argmax(axis=1)
    for sample in found:
        assert np.array_equal(sample.mask, ours[sample.key])
        expected = mean_iou(ours[sample.key], table[theirs[sample.key]])
        assert sample.facts.agreement == pytest.approx(expected, abs=1e-5)


def test_samples_are_filtered_by_agreement_in_the_job_and_by_readers(tmp_path):
    wanted = job(tmp_path, DIRECTION, overrides={"dataset.oversample": 4.0})
    found = run(wanted)
    rows = found.facts(where=pc.field("agreement") > 0.3).to_pylist()
    every = sorted(row["agreement"] for row in found.facts().to_pylist())
    assert sorted(row["agreement"] for row in rows) == [one for one in every if one > 0.3]
    least = every[len(every) // 2]
    wanted["dataset"]["accept"] = {"min_agreement": least}
    wanted["output"]["uri"] = str(tmp_path / "filtered")
    filtered = run(wanted)
    assert min(sample.facts.agreement for sample in filtered) >= least
    rejected = [record.num_rejected for record in filtered.manifest.records]
    assert sum(one.get("agreement", 0) for one in rejected) > 0


def test_status_card_and_curves_tell_how_agreement_is_distributed(tmp_path, capsys):
    found = run(job(tmp_path, {"kind": "style_mixing"}))
    values = [sample.facts.agreement for sample in found]
    store = open_store(str(tmp_path / "out"))
    state = find_state(store)
    told = make_status(state, [])
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        near = np.quantile(values, share, method="inverted_cdf")
        assert told["agreement"][f"{share:.0%}"] == pytest.approx(near, abs=0.0201)
    for least, share in told["kept_by_min_agreement"].items():
        kept = np.mean([value >= float(least) for value in values])
        assert share == pytest.approx(kept, abs=1e-4)
    assert 0 < told["kept_by_min_agreement"]["0.8"] < 1, "the test can tell a filter from none"
    app(["status", str(tmp_path / "out")], standalone_mode=False)
    shown = capsys.readouterr().out
    assert f"50% below {told['agreement']['50%']:.2f}" in shown
    assert f"0.8: {told['kept_by_min_agreement']['0.8']:.0%}" in shown
    card = (tmp_path / "out" / "README.md").read_text()
    assert "compared with those of style\\_mixing" in card
    assert f"| {told['kept_by_min_agreement']['0.8']:.1%} |" in card
    merged = merge_coverage(record.coverage for record in state.records)
    assert sum(merged.agreement) == 13
    chosen = derive_dataset([store], open_store(str(tmp_path / "new")), Rule(min_agreement=0.8))
    counts = merge_coverage(record.coverage for record in chosen.records).agreement
    assert sum(counts) == chosen.num_samples == sum(value >= 0.8 for value in values)
    assert not any(counts[:40])


def test_masks_that_were_not_compared_have_no_agreement_in_receipts_and_card(tmp_path):
    found = run(small_document(tmp_path))
    assert "agreement" not in make_status(find_state(open_store(str(tmp_path / "out"))), [])
    (receipt, *_) = sorted((tmp_path / "out" / "receipts").rglob("*.json"))
    assert "agreement" not in receipt.read_text()
    assert "agreement" not in (tmp_path / "out" / "README.md").read_text()
    assert found.manifest.records[0].coverage.agreement == []


def test_a_subset_is_taken_by_agreement_and_only_of_compared_masks(tmp_path):
    found = run(job(tmp_path, FINER))
    every = sorted(sample.facts.agreement for sample in found)
    taken = choose(
        [Source(open_store(str(tmp_path / "out")), found.manifest)], Rule(min_agreement=every[5])
    )
    assert sum(map(len, taken.values())) == sum(one >= every[5] for one in every)
    plain = run(small_document(tmp_path / "plain"))
    with pytest.raises(JobError, match="agreement"):
        choose(
            [Source(open_store(str(tmp_path / "plain" / "out")), plain.manifest)],
            Rule(min_agreement=0.5),
        )


def test_agreement_is_the_same_after_growth_and_made_again(tmp_path):
    run(job(tmp_path, DIRECTION, FINER, overrides={"dataset.num_samples": 5}))
    run(job(tmp_path, DIRECTION, FINER))
    run(job(tmp_path / "at once", DIRECTION, FINER))
    facts = [
        [(sample.key, sample.facts.agreement) for sample in factory.open_dataset(one / "out")]
        for one in (tmp_path, tmp_path / "at once")
    ]
    assert facts[0] == facts[1]
    again = factory.verify_dataset(tmp_path / "out", deep=True, regenerate=13)
    assert (again.problems, again.num_regenerated) == ((), 13)


def test_composites_are_as_doubtful_as_the_worse_of_their_masks(tmp_path):
    compose = {"background": "other_sample", "classes": [1, 2]}
    found = run(job(tmp_path, FINER, overrides={"dataset.compose": compose}))
    plain = job(tmp_path / "plain", FINER, overrides={"dataset.num_samples": 16})
    alone = {sample.facts.index: sample.facts.agreement for sample in run(plain)}
    for sample in found:
        expected = min(alone[sample.facts.index], alone[int(sample.facts.background)])
        assert sample.facts.agreement == pytest.approx(expected, abs=1e-5)


def test_another_method_is_another_dataset_and_damage_is_mended(tmp_path):
    run(job(tmp_path, FINER))
    other = FINER | {"num_clusters": 5}
    with pytest.raises(StoreError, match=r"agreement\.others\.0\.num_clusters: 6 there, 5"):
        run(job(tmp_path, other))
    file = tmp_path / "out" / OPINIONS_PATH
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    with pytest.raises(DamageError, match=r"opinions\.tar: sha256"):
        run(job(tmp_path, FINER))
    for step in find_repairs(open_store(str(tmp_path / "out"))):
        step.do()
    run(job(tmp_path, FINER))
    assert file.read_bytes() == whole


def test_a_plan_counts_the_other_methods_fits_and_passes(tmp_path):
    plain = calibrate(check_job(small_document(tmp_path), source="x"))
    compared = calibrate(check_job(job(tmp_path, DIRECTION), source="x"))
    assert plain["passes_per_pair"] == 1
    assert compared["passes_per_pair"] == 4
    assert compared["fit_s"] > plain["fit_s"]
    run(job(tmp_path, DIRECTION))
    fitted = calibrate(check_job(job(tmp_path, DIRECTION), source="x"))
    assert fitted["fit_s"] < compared["fit_s"]


def test_a_stream_leaves_out_what_disagrees(tmp_path):
    document = job(tmp_path, FINER, overrides={"dataset.accept": {"min_agreement": 0.01}})
    assert len(list(factory.stream(document, num_samples=4, progress=False))) == 4


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"dataset.accept": {"min_agreement": 0.5}}, "`accept.min_agreement` needs `agreement`"),
        ({"dataset.agreement": {"others": []}}, "at least 1 item"),
        (
            {"dataset.agreement": {"others": [{"method": {"kind": "kmeans", "clusters": 3}}]}},
            r"agreement\.others\.0\.method\.clusters: unknown key",
        ),
        (
            {"dataset.agreement": {"others": [{"method": {"kind": "nothing"}}]}},
            "no segmenter has that name",
        ),
    ],
)
def test_settings_that_cannot_be_are_told(tmp_path, overrides, words):
    with pytest.raises(JobError, match=words):
        check_job(small_document(tmp_path, overrides), source="x")

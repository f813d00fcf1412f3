"""Parts add up: in any order, in any grouping, to what counting the whole at once gives."""

from hypothesis import given, settings
from hypothesis import strategies as st

from factory.manifest.coverage import (
    AREA_EDGES,
    SKETCH_SIZE,
    Coverage,
    cover_samples,
    merge_coverage,
)
from factory.manifest.measure import UNKNOWN, Measures
from factory.manifest.statistics import evenness, quantile

often = settings(max_examples=80, deadline=None)

SIZE = 100
measures = st.just(UNKNOWN) | st.builds(
    Measures,
    sharpness=st.floats(0, 1e6),
    border=st.floats(0, 1),
    dhash=st.integers(0, 300).map(lambda n: f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}"),
    latent_cell=st.integers(0, 255),
)
samples = st.tuples(
    st.integers(0, 3), st.tuples(*[st.integers(0, SIZE)] * 3), st.floats(0, 1), measures
)
parts = st.lists(
    st.tuples(
        st.lists(samples, max_size=12), st.dictionaries(st.integers(0, 3), st.integers(1, 9))
    ),
    min_size=1,
    max_size=6,
)


def cover(rows, rejected, classes=4):
    return cover_samples(
        [row[0] for row in rows],
        [row[1] for row in rows],
        [SIZE] * len(rows),
        [row[2] for row in rows],
        [row[3] for row in rows],
        rejected=rejected,
        num_generator_classes=classes,
    )


def whole(pieces, classes=4):
    rejected = {}
    for _, lost in pieces:
        for label, count in lost.items():
            rejected[label] = rejected.get(label, 0) + count
    return cover([row for rows, _ in pieces for row in rows], rejected, classes)


@often
@given(parts, st.randoms(use_true_random=False), st.sampled_from([0, 4, 100]))
def test_merged_parts_are_the_whole_in_any_order(pieces, random, classes):
    covered = [cover(rows, lost, classes) for rows, lost in pieces]
    random.shuffle(covered)
    assert merge_coverage(covered) == whole(pieces, classes)


@often
@given(parts, st.integers(0, 6))
def test_merging_is_associative(pieces, cut):
    covered = [cover(*piece) for piece in pieces]
    halves = [merge_coverage(covered[:cut]), merge_coverage(covered[cut:])]
    assert merge_coverage(halves) == merge_coverage(covered)


@often
@given(parts)
def test_a_coverage_survives_its_json(pieces):
    covered = whole(pieces)
    assert Coverage.model_validate_json(covered.model_dump_json()) == covered


@often
@given(parts, st.integers(0, 2), st.sampled_from(AREA_EDGES))
def test_images_with_a_class_are_counted_as_if_one_by_one(pieces, mask_class, edge):
    rows = [row for rows, _ in pieces for row in rows]
    covered = whole(pieces)
    expected = [r for r in rows if r[1][mask_class] > 0 and 1000 * r[1][mask_class] >= edge * SIZE]
    assert covered.images_with(mask_class, min_area=edge / 1000) == len(expected)
    for label in range(4):
        of_label = [row for row in expected if row[0] == label]
        found = covered.images_with(mask_class, min_area=edge / 1000, generator_class=label)
        assert found == len(of_label)
    assert covered.num_kept == len(rows)


@often
@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.sampled_from([0.05, 0.5, 0.95]))
def test_a_quantile_of_the_bins_is_within_one_bin_of_the_true_one(values, share):
    covered = cover([(0, (1, 1, 1), value, UNKNOWN) for value in values], {})
    place = quantile(covered.confidence, share)
    ordered = sorted(min(int(value * 50), 49) for value in values)
    true = ordered[max(0, -int(-share * len(values) // 1) - 1)]
    assert true <= place <= true + 1


@often
@given(st.lists(st.integers(0, 2**64 - 1).map(lambda n: f"{n:016x}"), max_size=300))
def test_the_sketch_keeps_exact_counts_of_a_fixed_choice(texts):
    covered = cover(
        [
            (0, (1, 1, 1), 0.5, Measures(sharpness=1.0, border=0.1, dhash=text, latent_cell=0))
            for text in texts
        ],
        {},
    )
    assert len(covered.hashes) == min(SKETCH_SIZE, len(set(texts)))
    assert all(texts.count(text) == count for text, count in covered.hashes)


@often
@given(st.integers(2, 400))
def test_evenness_is_one_for_equal_visits_and_nothing_for_one_place(places):
    assert evenness([7] * places, places) == 1
    assert evenness([7], places) == 0
    assert evenness([], places) == 0

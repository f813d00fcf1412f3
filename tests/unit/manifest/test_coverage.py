"""What counts say, by examples; that parts add up to the whole is in `tests/property`."""

from factory.manifest.coverage import (
    SKETCH_SIZE,
    Coverage,
    cover_samples,
    merge_coverage,
)
from factory.manifest.measure import UNKNOWN, Measures


def measured_as(sharpness, border, dhash, latent_cell):
    return Measures(sharpness=sharpness, border=border, dhash=dhash, latent_cell=latent_cell)


def cover(px, labels=None, classes=4, measures=None, rejected=None, confidence=None, size=1000):
    labels = labels or [0] * len(px)
    return cover_samples(
        labels,
        px,
        [size] * len(px),
        confidence or [0.5] * len(px),
        measures or [UNKNOWN] * len(px),
        rejected=rejected or {},
        num_generator_classes=classes,
    )


def test_a_share_that_is_exactly_an_edge_lies_above_it():
    found = cover([(950, 50), (951, 49), (999, 1), (1000, 0)])
    assert found.area[0][1] == [0, 1, 0, 0, 0, 0, 0, 1, 1]
    assert found.images_with(1, min_area=0.05) == 1
    assert found.images_with(1, min_area=0.04) == 2
    assert found.images_with(1) == 3, "an image without the class is in no bin"


def test_a_mask_class_that_nobody_made_is_in_no_image():
    assert cover([(1000, 0)]).images_with(1) == 0
    assert cover([(1000, 0)]).images_with(7) == 0


def test_areas_of_many_generator_classes_are_counted_together():
    few = cover([(500, 500), (400, 600)], labels=[0, 63], classes=64)
    many = cover([(500, 500), (400, 600)], labels=[0, 64], classes=65)
    assert sorted(few.area) == [0, 63]
    assert sorted(many.area) == [-1]
    assert many.images_with(1) == 2
    assert many.images_with(1, generator_class=0) == 0
    assert many.kept == {0: 1, 64: 1}


def test_values_at_the_end_of_a_histogram_are_in_its_last_bin():
    measured = [measured_as(1e12, 1.0, "0" * 16, 255), measured_as(0.0, 0.0, "1" * 16, 0)]
    found = cover([(1, 1)] * 2, measures=measured, confidence=[1.0, 0.0])
    assert [len(found.confidence), len(found.sharpness), len(found.border)] == [50, 40, 50]
    assert len(found.cells) == 256
    assert found.confidence[0] == found.confidence[-1] == 1


def test_what_was_not_measured_is_not_counted():
    found = cover([(1, 1)] * 2, measures=[UNKNOWN, measured_as(3.0, 0.25, "f" * 16, 9)])
    assert sum(found.sharpness) == sum(found.border) == sum(found.cells) == 1
    assert found.sharpness.index(1) == 4, "2 log2(1 + 3)"
    assert found.border.index(1) == 25
    assert found.num_kept == 2


def test_rejected_images_were_made_and_are_not_kept():
    found = cover([(1, 1)], labels=[2], rejected={2: 3, 0: 1})
    assert (found.made, found.kept) == ({0: 1, 2: 4}, {2: 1})
    assert (found.num_made, found.num_kept) == (5, 1)


def test_a_sketch_of_many_parts_keeps_exact_counts():
    parts = [
        Coverage(hashes=[(f"{n % 3000:016x}", 1) for n in range(start, start + 100)])
        for start in range(0, 6000, 100)
    ]
    merged = merge_coverage(parts)
    assert len(merged.hashes) == SKETCH_SIZE
    assert {count for _, count in merged.hashes} == {2}
    assert merged.hashes == merge_coverage(reversed(parts)).hashes

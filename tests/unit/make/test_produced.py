from collections import Counter

from factory.make.produced import ProducedSamples
from factory.manifest.measure import Measures
from factory.pack.facts import SampleFacts
from factory.pack.packing import PackedRows


def facts(index, class_label):
    return SampleFacts(
        key=f"{index:09d}", index=index, dataset_id="d", class_label=class_label, class_name="",
        confidence=0.5, width=4, height=5, class_px=[15, 5], ignore_px=0,
    )  # fmt: skip


REJECTED = Counter({("confidence", 0): 2, ("confidence", 1): 1, ("blurred", 1): 4})


def produced():
    rows = PackedRows([facts(0, 0), facts(1, 2)], [Measures(latent_cell=3), Measures()])
    return ProducedSamples(rows, REJECTED, num_generator_classes=3, generate_s=1.0)


def test_rejections_are_counted_by_reason_in_the_order_of_the_alphabet():
    assert list(produced().num_rejected.items()) == [("blurred", 4), ("confidence", 3)]


def test_what_was_rejected_was_made_and_not_kept():
    covered = produced().cover()
    assert covered.kept == {0: 1, 2: 1}
    assert covered.made == {0: 3, 1: 5, 2: 1}


def test_coverage_takes_sizes_from_the_facts_and_cells_from_the_measures():
    covered = produced().cover()
    assert covered.images_with(1, min_area=0.25) == 2, "5 of 20 pixels"
    assert covered.images_with(1, min_area=0.3) == 0
    assert (sum(covered.cells), covered.cells[3]) == (1, 1)

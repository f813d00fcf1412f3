"""Which methods work on a generator follows from what it offers."""

import pytest

from factory.errors import JobError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.segment.serving import check_generator, find_serving_methods
from factory.spec import METHODS

BARE = GeneratorFacts(resolution=8, num_classes=0, class_names=(), layers={})
MAPS = GeneratorFacts(
    resolution=8, num_classes=0, class_names=(), layers={"conv": LayerShape(4, 8, 8)}
)


def test_without_anything_no_method_serves_and_the_error_says_so():
    assert find_serving_methods(BARE) == []
    with pytest.raises(JobError, match="has no feature maps; methods that work on it: none"):
        check_generator("klish", BARE)


def test_feature_maps_are_enough_for_methods_that_cluster_or_learn_them():
    serving = find_serving_methods(MAPS)
    assert serving == sorted(
        name for name, m in METHODS.items() if m.needs == ("layers",) and m.can_teach
    )
    assert {"klish", "kmeans", "linear"} <= set(serving)
    for kind in serving:
        check_generator(kind, MAPS)
    with pytest.raises(JobError, match=r"methods that work on it: klish, kmeans, linear$"):
        check_generator("style_mixing", MAPS)

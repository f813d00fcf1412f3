"""A number that is one class's number and another's name means neither until it is quoted."""

import numpy as np
import pytest

from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.latents import LatentSampler
from factory.spec import GeneratorSpec, LatentsSpec

SORTED_AS_TEXT = sorted(map(str, range(12)))


class Numbered:
    def __init__(self, names: list[str]) -> None:
        self.facts = GeneratorFacts(
            resolution=8, layers={}, num_classes=len(names), class_names=tuple(names)
        )

    def draw_z(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(2).astype(np.float32)

    def generate(self, latents, layers):
        raise NotImplementedError


def labels(names, classes):
    sampler = LatentSampler(Numbered(names), LatentsSpec(classes=classes), GeneratorSpec(kind="x"))
    return sampler.draw(range(1)).class_labels.tolist()


def test_a_number_with_two_meanings_is_refused():
    with pytest.raises(
        JobError, match=r"found 2, which is the number of class '10' and the name of"
    ):
        labels(SORTED_AS_TEXT, [2])


def test_a_quoted_number_is_the_name():
    assert labels(SORTED_AS_TEXT, ["2"]) == [SORTED_AS_TEXT.index("2")]
    assert labels(SORTED_AS_TEXT, ["10"]) == [2]


def test_a_number_that_is_its_own_name_is_that_class():
    assert labels([str(number) for number in range(12)], [2]) == [2]
    assert labels(["a", "b", "c"], [2]) == [2]

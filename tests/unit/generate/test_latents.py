import numpy as np
import pytest

from factory.data import LatentBatch
from factory.errors import JobError
from factory.generate.base import GeneratorFacts
from factory.generate.latents import LatentSampler
from factory.identity import counter_rng
from factory.spec import GeneratorSpec, LatentsSpec


class Kennel:
    """A generator of three classes that is never asked for an image."""

    def __init__(self, num_classes=3, class_names=("cat", "dog", "fox")):
        self.facts = GeneratorFacts(8, num_classes, class_names, {})

    def draw_z(self, rng):
        return rng.standard_normal(5, dtype=np.float32)

    def generate(self, latents, layers):
        raise AssertionError("no image is needed")


def sampler(classes=None, kennel=None, noise="const", **settings):
    spec = GeneratorSpec(kind="kennel", noise=noise)
    return LatentSampler(kennel or Kennel(), LatentsSpec(classes=classes, **settings), spec)


def labels(count, classes, **settings):
    return sampler(classes, **settings).draw(range(count)).class_labels.tolist()


def test_a_sample_s_latent_does_not_depend_on_its_neighbours():
    draws = sampler(seed=3)
    whole = draws.draw([4, 5, 6, 7])
    alone = draws.draw([6])
    assert np.array_equal(whole.z[2], alone.z[0])
    assert np.array_equal(alone.z[0], counter_rng("latent", 3, 6).standard_normal(5, np.float32))
    assert whole.z.dtype == np.float32
    assert whole.indices.tolist() == [4, 5, 6, 7]


def test_another_seed_gives_other_latents():
    assert not np.array_equal(sampler(seed=0).draw([1]).z, sampler(seed=1).draw([1]).z)


def test_truncation_and_noise_seed_go_with_the_batch():
    batch = sampler(seed=9, truncation_psi=0.7, truncation_cutoff=4, noise="per_sample").draw([0])
    assert isinstance(batch, LatentBatch)
    assert (batch.truncation_psi, batch.truncation_cutoff, batch.noise_seed) == (0.7, 4, 9)
    assert sampler(seed=9, noise="const").draw([0]).noise_seed is None


def test_without_a_wish_all_classes_are_visited_in_turn():
    assert labels(7, None) == [0, 1, 2, 0, 1, 2, 0]


def test_a_list_is_visited_in_its_order_by_name_or_number():
    assert labels(5, ["fox", 0]) == [2, 0, 2, 0, 2]


def test_a_generator_without_classes_has_the_label_minus_one():
    assert labels(3, None, kennel=Kennel(0, ())) == [-1, -1, -1]


def test_weights_are_odds():
    drawn = labels(4000, {"cat": 1.0, "fox": 3.0})
    assert set(drawn) == {0, 2}
    assert drawn.count(2) / 4000 == pytest.approx(0.75, abs=0.03)


def test_a_drawn_class_is_a_function_of_seed_and_index_alone():
    weights = {"cat": 1.0, "dog": 1.0, "fox": 1.0}
    assert sampler(weights).draw([17]).class_labels[0] == labels(18, weights)[17]
    assert labels(64, weights, seed=0) != labels(64, weights, seed=1)


@pytest.mark.parametrize(
    ("classes", "kennel", "text"),
    [
        (
            ["wolf"],
            Kennel(),
            "dataset.latents.classes: found 'wolf'; allowed: 0 to 2 or one of cat, dog, fox",
        ),
        ([3], Kennel(3, ()), "dataset.latents.classes: found 3; allowed: 0 to 2"),
        ([-1], Kennel(3, ()), "dataset.latents.classes: found -1; allowed: 0 to 2"),
        ({"cat": 1.0}, Kennel(3, ()), "dataset.latents.classes: found 'cat'; allowed: 0 to 2"),
        (
            [0],
            Kennel(0, ()),
            "dataset.latents.classes: this generator has no classes; remove the setting",
        ),
    ],
)
def test_a_class_that_does_not_exist_is_told_with_those_that_do(classes, kennel, text):
    with pytest.raises(JobError) as caught:
        sampler(classes, kennel)
    assert str(caught.value) == text


def test_the_order_in_which_weights_are_written_does_not_matter():
    assert labels(64, {"cat": 1.0, "fox": 3.0}) == labels(64, {"fox": 3.0, "cat": 1.0})


def test_numbered_weights_survive_the_way_through_json():
    spec = LatentsSpec(classes={0: 1.0, 2: 3.0})
    again = LatentsSpec.model_validate_json(spec.model_dump_json())
    drawn = LatentSampler(Kennel(), again, GeneratorSpec(kind="kennel")).draw(range(64))
    assert drawn.class_labels.tolist() == labels(64, {0: 1.0, 2: 3.0})

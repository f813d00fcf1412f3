import numpy as np
import pytest
from colour_network import COLOURS, write_colours
from small_job import make_small

import factory
from factory.downstream.model_file import open_model
from factory.downstream.translation import OpenTranslator, TranslatorFacts
from factory.downstream.translation_network import Translator
from factory.downstream.translation_report import score_translations
from factory.errors import JobError

pytestmark = pytest.mark.slow

CLASSES = ("cluster_00", "cluster_01", "cluster_02")


class Paints(OpenTranslator):
    """Every class in the colour that the network of `colour_network` knows it by."""

    def translate(self, masks, seed=0):
        return COLOURS[masks.numpy()]


class Blind(OpenTranslator):
    """The colour of the first class, whatever the mask."""

    def translate(self, masks, seed=0):
        return COLOURS[np.zeros(masks.shape, np.int64)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder, {"dataset.segmenter.num_clusters": 3})
    return factory.open_dataset(folder / "out")


def scores(kind, dataset, folder, classes=CLASSES):
    translator = kind(Translator(3, "S"), TranslatorFacts(CLASSES, "S", "d"))
    return score_translations(
        translator, open_model(write_colours(folder, classes, size_px=32)), dataset
    )


def test_images_that_show_their_masks_score_one_and_others_do_not(dataset, tmp_path):
    made, real = scores(Paints, dataset, tmp_path)
    assert made == 1
    blind, same = scores(Blind, dataset, tmp_path)
    assert blind < 0.34
    assert real == same < 1


def test_a_network_of_other_classes_is_refused(dataset, tmp_path):
    with pytest.raises(JobError, match="--model: classes a, b, c; cluster_00"):
        scores(Paints, dataset, tmp_path, classes=("a", "b", "c"))

import io

import numpy as np
import pytest
from PIL import Image
from small_job import make_small

from factory.dataset.preview import Pair, draw_sheet, make_preview, overlay, sample_pairs
from factory.errors import DamageError
from factory.manifest.labels import MaskClass
from factory.store import open_store

LABELS = [
    MaskClass(id=0, name="ground", colour=(255, 0, 0)),
    MaskClass(id=1, name="disc", colour=(0, 0, 255)),
]


def a_pair(side=8, image=100):
    mask = np.zeros((side, side), np.uint8)
    mask[:, side // 2 :] = 1
    mask[-1] = 255
    return Pair("000000000", np.full((side, side, 3), image, np.uint8), mask)


def test_an_overlay_blends_inside_a_class_and_draws_its_border_in_full():
    pixels = overlay(a_pair(), LABELS)
    inside_ground = np.round(np.array([100, 100, 100]) * 0.55 + np.array([255, 0, 0]) * 0.45)
    inside_disc = np.round(np.array([100, 100, 100]) * 0.55 + np.array([0, 0, 255]) * 0.45)
    assert pixels[2, 1].tolist() == inside_ground.tolist()
    assert pixels[2, 6].tolist() == inside_disc.tolist()
    assert pixels[2, 4].tolist() == [0, 0, 255]
    assert pixels[2, 3].tolist() == inside_ground.tolist()


def test_pixels_of_no_class_are_grey():
    pixels = overlay(a_pair(image=0), LABELS)
    assert pixels[7, 1].tolist() == [128, 128, 128]


def test_an_overlay_leaves_its_image_alone():
    pair = a_pair()
    before = pair.image.copy()
    overlay(pair, LABELS)
    assert np.array_equal(pair.image, before)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (6, 6, 1), (7, 6, 2), (24, 6, 4)]
)
def test_a_sheet_is_a_grid_with_each_image_left_of_its_overlay(count, columns, rows):
    sheet = draw_sheet([a_pair()] * count, LABELS, [0.5, 0.5, 0.0])
    assert sheet.width == columns * 296 + 8
    assert sheet.height >= rows * 152 + 8 + 26
    assert sheet.getpixel((8 + 20, 8 + 20)) == (100, 100, 100)
    red, _, blue = sheet.getpixel((8 + 144 + 20, 8 + 20))
    assert red > 150 > blue


def test_the_legend_shows_every_class_in_its_colour():
    sheet = draw_sheet([a_pair()] * 6, LABELS, [0.25, 0.75, 0.0])
    top = 152 + 8
    assert sheet.getpixel((8 + 9, top + 9)) == (255, 0, 0)
    assert sheet.getpixel((8 + 220 + 9, top + 9)) == (0, 0, 255)


def test_more_classes_than_fit_one_line_take_several():
    many = [MaskClass(id=i, name=f"c{i}", colour=(0, 0, 0)) for i in range(255)]
    sheet = draw_sheet([a_pair()], many, [0.0] * 256)
    assert sheet.height >= 255 * 26


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview")
    overrides = {"dataset.num_samples": 30, "dataset.samples_per_shard": 5}
    return make_small(folder, overrides), open_store(str(folder / "out"))


def test_pairs_come_from_shards_spread_over_the_dataset(made):
    manifest, store = made
    pairs = sample_pairs(store, manifest.records, 8)
    assert [int(pair.key) for pair in pairs] == [0, 1, 5, 6, 15, 16, 20, 21]


def test_short_shards_are_made_up_for_by_later_ones(made):
    manifest, store = made
    pairs = sample_pairs(store, manifest.records, 24)
    assert len(pairs) == len({pair.key for pair in pairs}) == 20


def test_fewer_pairs_than_shards_can_be_asked_for(made):
    manifest, store = made
    assert len(sample_pairs(store, manifest.records, 1)) == 1


def test_a_preview_is_a_png_that_opens(made):
    manifest, store = made
    picture = Image.open(io.BytesIO(make_preview(store, manifest)))
    assert picture.format == "PNG"
    assert picture.width == 6 * 296 + 8


def test_a_dataset_without_shards_has_no_preview(made):
    manifest, store = made
    assert make_preview(store, manifest.model_copy(update={"records": []})) is None


def test_a_missing_shard_is_told_with_what_to_do(made):
    manifest, store = made
    gone = manifest.records[0].model_copy(update={"path": "data/train/none.tar"})
    with pytest.raises(DamageError) as caught:
        sample_pairs(store, [gone], 1)
    assert str(caught.value) == (
        f"{store.uri}/data/train/none.tar: missing, though its receipt is there; restore it, or "
        f"`factory repair {store.uri}` takes the receipt back and the next run makes it again"
    )

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from factory.downstream.pictures import open_pictures
from factory.export.examples import Exported
from factory.export.folders import export_folders, export_nnunet, export_voc

pytestmark = pytest.mark.slow


class WithIgnored(Exported):
    """A source whose masks have pixels without a class."""

    def __init__(self, source):
        super().__init__(source.store, source.manifest, source.splits, source.left_out)

    def __iter__(self):
        for example in Exported.__iter__(self):
            mask = example.mask.copy()
            mask[:3] = 255
            yield replace(example, sample=replace(example.sample, mask=mask))


def read(path):
    with Image.open(path) as picture:
        return picture.mode, np.array(picture)


def test_folders_hold_each_image_beside_its_mask_of_class_ids(source, expected, tmp_path):
    assert export_folders(source, tmp_path) == len(expected)
    for key, example in expected.items():
        mode, mask = read(tmp_path / f"masks/{example.split}/{key}.png")
        assert mode == "L"
        assert (mask == example.mask).all()
        _, image = read(tmp_path / f"images/{example.split}/{example.name}")
        assert (image == example.sample.image).all()
    assert len(list(tmp_path.glob("images/*/*"))) == len(expected)
    names = (tmp_path / "classes.txt").read_text().splitlines()
    assert names == ["cluster_00", "cluster_01", "cluster_02", "cluster_03"]


def test_nnunet_finds_every_case_its_labels_and_the_fold(source, expected, tmp_path):
    assert export_nnunet(source, tmp_path) == len(expected)
    facts = json.loads((tmp_path / "dataset.json").read_text())
    cases = sorted(path.name[: -len(".png")] for path in (tmp_path / "labelsTr").iterdir())
    assert facts["numTraining"] == len(cases)
    assert sorted(p.name for p in (tmp_path / "imagesTr").iterdir()) == [
        f"{case}_0000{facts['file_ending']}" for case in cases
    ]
    assert list(facts["labels"].values()) == [0, 1, 2, 3]
    assert facts["labels"]["background"] == 0
    (fold,) = json.loads((tmp_path / "splits_final.json").read_text())
    assert sorted(fold["train"] + fold["val"]) == cases
    by_split = {split: [] for split in ("train", "val", "test")}
    for key, example in expected.items():
        by_split[example.split].append(f"tiny_{key}")
    assert fold == {"train": by_split["train"], "val": by_split["val"]}
    tests = [path.name[: -len(".png")] for path in (tmp_path / "labelsTs").iterdir()]
    assert sorted(tests) == by_split["test"]
    mode, mask = read(tmp_path / f"labelsTr/{cases[0]}.png")
    assert mode == "L"
    assert (mask == expected[cases[0][-9:]].mask).all()


def test_ignored_pixels_are_nnunet_s_last_label(source, tmp_path):
    export_nnunet(WithIgnored(source), tmp_path)
    facts = json.loads((tmp_path / "dataset.json").read_text())
    assert facts["labels"]["ignore"] == max(facts["labels"].values()) == 4
    for path in (tmp_path / "labelsTr").iterdir():
        _, mask = read(path)
        assert (mask[:3] == 4).all()
        assert mask.max() == 4


def with_labels(source, names, colours=None):
    """A source whose classes have other names and colours."""
    labels = source.manifest.meaning.labels
    colours = colours or [label.colour for label in labels]
    changed = [
        label.model_copy(update={"name": name, "colour": colour})
        for label, name, colour in zip(labels, names, colours, strict=True)
    ]
    meaning = source.manifest.meaning.model_copy(update={"labels": changed})
    return replace(source, manifest=source.manifest.model_copy(update={"meaning": meaning}))


def test_names_that_nnunet_keeps_for_itself_are_not_given_to_other_classes(source, tmp_path):
    export_nnunet(
        with_labels(source, ["background", "background", "ignore", "ignore_class"]), tmp_path
    )
    assert json.loads((tmp_path / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "background_class": 1,
        "ignore_class": 2,
        "ignore_class_class": 3,
    }


def test_nnunet_s_background_is_the_class_of_that_name(source, expected, tmp_path):
    export_nnunet(with_labels(source, ["disc", "core", "background", "square"]), tmp_path)
    facts = json.loads((tmp_path / "dataset.json").read_text())
    assert facts["labels"] == {"background": 0, "disc": 1, "core": 2, "square": 3}
    for path in (tmp_path / "labelsTr").iterdir():
        _, mask = read(path)
        own = expected[path.stem[-9:]].mask
        assert ((own == 2) == (mask == 0)).all()
        assert ((own == 0) == (mask == 1)).all()
        assert ((own == 3) == (mask == 3)).all()


def test_names_on_several_lines_do_not_shift_the_classes(source, tmp_path):
    odd = with_labels(source, ["a\u2028b", "", " c\n", "a\x85d"])
    export_folders(odd, tmp_path)
    assert (tmp_path / "classes.txt").read_text().splitlines() == ["a b", "class_1", "c", "a d"]
    assert open_pictures(tmp_path).classes == ("a b", "class_1", "c", "a d")


def test_classes_of_one_colour_get_several_in_voc_which_tells_them_by_it(source, tmp_path):
    red, void, green = (255, 0, 0), (224, 224, 192), (0, 255, 0)
    export_voc(with_labels(source, "abcd", [red, red, void, green]), tmp_path)
    rows = (tmp_path / "labelmap.txt").read_text().splitlines()[1:]
    colours = [tuple(map(int, row.split(":")[1].split(","))) for row in rows]
    assert len({*colours, void}) == 5
    assert (colours[0], colours[3]) == (red, green)
    path = next((tmp_path / "SegmentationClass").iterdir())
    with Image.open(path) as picture:
        ids, shown = np.array(picture), np.array(picture.convert("RGB"))
    for class_id in np.unique(ids[ids < 255]):
        assert (shown[ids == class_id] == colours[class_id]).all()


def test_voc_masks_have_a_palette_of_the_class_colours_and_lists_by_split(
    source, expected, tmp_path
):
    count = export_voc(WithIgnored(source), tmp_path)
    colours = [tuple(label.colour) for label in source.manifest.meaning.labels]
    rows = (tmp_path / "labelmap.txt").read_text().splitlines()
    assert rows[1] == f"cluster_00:{','.join(map(str, colours[0]))}::"
    listed = [
        (split, key)
        for split in ("train", "val", "test")
        for key in (tmp_path / f"ImageSets/Segmentation/{split}.txt").read_text().split()
    ]
    assert listed == [(example.split, key) for key, example in expected.items()]
    assert len(listed) == count
    for key, example in expected.items():
        with Image.open(tmp_path / f"SegmentationClass/{key}.png") as picture:
            assert picture.mode == "P"
            assert (np.array(picture)[3:] == example.mask[3:]).all()
            assert (np.array(picture)[:3] == 255).all()
            seen = np.array(picture.convert("RGB"))
        assert tuple(seen[0, 0]) == (224, 224, 192)
        assert tuple(seen[9, 9]) == colours[example.mask[9, 9]]

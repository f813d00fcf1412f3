"""Masks of the painting page on disk: whole or not at all, and never over another's work."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_painting import NAMES, paint_exactly, saved, toy_masks, toy_material, toy_pictures

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.folder import MOST_BYTES, read_painted
from factory.fit.annotations.pictures_file import read_pictures_file
from factory.label.painting.masks import MaskFiles
from factory.pack.image import encode_mask
from factory.spec.linear import PaintedClass
from factory.store import single_file

CLASSES = make_classes(make_labels([PaintedClass(name=name) for name in ("a", "b", "c")]))


@pytest.fixture
def folder(tmp_path):
    return toy_pictures(tmp_path)


def files(folder):
    return MaskFiles(folder, read_pictures_file(folder), CLASSES)


def a_mask(folder, value=1):
    mask = np.full_like(toy_masks(folder)[NAMES[0]], IGNORE)
    mask[2:5, 3:9] = value
    return mask


def test_what_is_saved_is_what_a_fit_reads(folder):
    seen = files(folder).save(NAMES[1], a_mask(folder), "")
    assert len(seen) == 16
    (found,) = read_painted(folder, read_pictures_file(folder), CLASSES)
    assert found.picture.name == NAMES[1]
    assert np.array_equal(found.mask, a_mask(folder))
    again, digest = files(folder).read(NAMES[1])
    assert np.array_equal(again, a_mask(folder))
    assert digest == seen


def test_a_picture_that_nobody_painted_is_open_everywhere(folder):
    mask, seen = files(folder).read(NAMES[0])
    assert seen == ""
    assert (mask == IGNORE).all()


def test_a_mask_whose_last_pixel_is_erased_is_no_file(folder):
    masks = files(folder)
    seen = masks.save(NAMES[0], a_mask(folder), "")
    assert masks.save(NAMES[0], np.full_like(a_mask(folder), IGNORE), seen) == ""
    assert list((folder / "masks").iterdir()) == []
    assert masks.painted() == {}


def test_a_file_that_changed_meanwhile_is_not_overwritten(folder):
    masks = files(folder)
    seen = masks.save(NAMES[0], a_mask(folder), "")
    file = folder / "masks" / f"{NAMES[0]}.png"
    file.write_bytes(encode_mask(a_mask(folder, 2)))
    assert masks.save(NAMES[0], a_mask(folder, 0), seen) is None
    assert (saved(folder, NAMES[0]) == a_mask(folder, 2)).all()
    mask, seen = masks.read(NAMES[0])
    assert (mask == a_mask(folder, 2)).all()
    assert masks.save(NAMES[0], a_mask(folder, 0), seen)
    file.unlink()
    mask, seen = masks.read(NAMES[0])
    assert (mask == IGNORE).all()
    assert seen == ""


def test_a_file_that_something_else_left_half_saved_is_told(folder):
    masks = files(folder)
    masks.save(NAMES[0], a_mask(folder), "")
    file = folder / "masks" / f"{NAMES[0]}.png"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(JobError, match=rf"{NAMES[0]}.png: not a whole image"):
        masks.read(NAMES[0])


def test_a_write_that_fails_leaves_the_mask_that_was_there(folder, monkeypatch):
    masks = files(folder)
    seen = masks.save(NAMES[0], a_mask(folder), "")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(single_file.os, "fsync", full)
    with pytest.raises(JobError, match="No space left on device"):
        masks.save(NAMES[0], a_mask(folder, 2), seen)
    assert (saved(folder, NAMES[0]) == a_mask(folder)).all()
    assert [path.name for path in (folder / "masks").iterdir()] == [f"{NAMES[0]}.png"]
    assert (masks.painted()[NAMES[0]] == a_mask(folder)).all()


def test_ids_of_no_class_are_refused(folder):
    with pytest.raises(JobError, match="holds ids of no class; allowed: 0 to 2, and 255"):
        files(folder).save(NAMES[0], a_mask(folder, 3), "")
    assert not (folder / "masks").exists()


def test_what_another_tool_painted_is_read_and_kept(folder):
    (folder / f"{NAMES[2]}.label.png").write_bytes(encode_mask(a_mask(folder)))
    masks = files(folder)
    assert masks.other_file(NAMES[2]) == f"{NAMES[2]}.label.png"
    assert (masks.read(NAMES[2])[0] == a_mask(folder)).all()
    with pytest.raises(JobError, match=r"is painted in .*label.png; remove that file"):
        masks.save(NAMES[2], a_mask(folder, 0), "")


def test_files_that_cannot_be_used_are_told_before_the_page_opens(folder):
    paint_exactly(folder, NAMES[:1])
    (folder / "masks" / f"{NAMES[1]}.png").write_bytes(encode_mask(a_mask(folder)[:20]))
    (folder / "masks" / "000999.png").write_bytes(encode_mask(a_mask(folder)))
    with pytest.raises(JobError) as caught:
        toy_material(folder)
    assert "2 files cannot be used" in str(caught.value)
    assert str(caught.value).count("\n") == 2


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_in_the_place_of_a_mask_is_told_and_not_waited_for(kind, folder):
    (folder / "masks").mkdir()
    file = folder / "masks" / f"{NAMES[0]}.png"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.mkdir()
    with pytest.raises(JobError, match=rf"{NAMES[0]}.png: is no file; remove it"):
        files(folder)


def test_a_file_that_grew_too_large_is_not_read_whole(folder):
    masks = files(folder)
    (folder / "masks").mkdir()
    file = folder / "masks" / f"{NAMES[0]}.png"
    with file.open("wb") as grown:
        grown.truncate(MOST_BYTES + 1)
    with pytest.raises(JobError, match=r"has more than 67,108,864 bytes"):
        masks.read(NAMES[0])


def test_of_two_tabs_that_save_at_once_one_is_told_to_look_again(folder):
    masks = files(folder)
    start = threading.Barrier(8)

    def save(value):
        start.wait()
        return masks.save(NAMES[0], a_mask(folder, value % 3), "")

    with ThreadPoolExecutor(8) as tabs:
        answers = list(tabs.map(save, range(8)))
    assert len([answer for answer in answers if answer is not None]) == 1
    winner = next(value for value, answer in enumerate(answers) if answer is not None)
    assert np.array_equal(saved(folder, NAMES[0]), a_mask(folder, winner % 3))


@pytest.mark.slow
def test_a_page_that_is_killed_while_it_saves_leaves_a_whole_mask(folder):
    script = f"""
import sys
from pathlib import Path
import numpy as np
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.pictures_file import read_pictures_file
from factory.label.painting.masks import MaskFiles
from factory.spec.linear import PaintedClass
folder = Path({str(folder)!r})
classes = make_classes(make_labels([PaintedClass(name=name) for name in ("a", "b", "c")]))
masks, seen = MaskFiles(folder, read_pictures_file(folder), classes), ""
side = read_pictures_file(folder).resolution_px
while True:
    for value in (0, 1, 2):
        seen = masks.save({NAMES[0]!r}, np.full((side, side), value, np.uint8), seen)
        print(value, flush=True)
"""
    painter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert painter.stdout is not None
    for _ in range(100):
        assert painter.stdout.readline()
    painter.kill()
    painter.communicate()
    (found,) = read_painted(folder, read_pictures_file(folder), CLASSES)
    assert len(np.unique(found.mask)) == 1
    seen = files(folder).read(NAMES[0])[1]
    assert files(folder).save(NAMES[0], a_mask(folder), seen), "and the page goes on"

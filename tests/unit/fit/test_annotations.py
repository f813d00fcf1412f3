"""Masks that come back from a painter: what is read, and what is told of what cannot be."""

import io
import os

import numpy as np
import pytest
from painted import NUMBERS, exact_masks, painted_folder, pictures_folder
from PIL import Image
from small_job import small_job

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.folder import read_painted
from factory.fit.annotations.pictures_file import read_pictures_file
from factory.fit.annotations.png import read_png
from factory.pack.image import encode_mask
from factory.spec.linear import PaintedClass

LABELS = make_labels(
    [
        PaintedClass(name="ground", colour="#ffffff"),
        PaintedClass(name="square", colour="#ff0000"),
        PaintedClass(name="disc", colour="#00ff00"),
        PaintedClass(name="core", colour="#0000ff"),
    ]
)
CLASSES = make_classes(LABELS)
COLOURS = np.array([label.colour for label in LABELS], dtype=np.uint8)


def read(folder):
    return read_painted(folder, read_pictures_file(folder), CLASSES)


def truth(folder):
    return exact_masks(small_job(folder).dataset, NUMBERS)


def png(pixels, mode=None, **options):
    sink = io.BytesIO()
    (Image.fromarray(pixels, mode) if mode else Image.fromarray(pixels)).save(
        sink, "PNG", **options
    )
    return sink.getvalue()


def palette_png(mask, colours):
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    picture.putpalette(np.asarray(colours, dtype=np.uint8).ravel().tolist())
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def test_an_index_png_holds_class_ids(tmp_path):
    found = read(painted_folder(tmp_path / "p"))
    assert [one.picture.number for one in found] == list(NUMBERS)
    assert np.array_equal(np.stack([one.mask for one in found]), truth(tmp_path))


def test_colours_are_read_by_the_classes_colours_whatever_a_palette_s_order(tmp_path):
    mask = truth(tmp_path)[0]
    order = np.array([2, 3, 0, 1])
    assert np.array_equal(read_png(png(COLOURS[mask]), CLASSES), mask)
    shuffled = np.empty_like(COLOURS)
    shuffled[order] = COLOURS
    assert np.array_equal(
        read_png(palette_png(order[mask].astype(np.uint8), shuffled), CLASSES), mask
    )


def test_black_and_what_is_transparent_is_not_painted(tmp_path):
    mask = truth(tmp_path)[0]
    colours = COLOURS[mask]
    colours[:4] = 0
    assert (read_png(png(colours), CLASSES)[:4] == IGNORE).all()
    alpha = np.full((*mask.shape, 1), 255, np.uint8)
    alpha[:, :5] = 100
    found = read_png(png(np.concatenate([COLOURS[mask], alpha], axis=2)), CLASSES)
    assert (found[:, :5] == IGNORE).all()
    assert np.array_equal(found[:, 5:], mask[:, 5:])


def test_black_is_a_class_if_one_is_black():
    classes = make_classes(
        make_labels([PaintedClass(name="night", colour="#000000"), PaintedClass(name="day")])
    )
    assert (read_png(png(np.zeros((4, 4, 3), np.uint8)), classes) == 0).all()


def test_an_unknown_colour_and_an_unknown_id_are_told_with_their_pixels(tmp_path):
    colours = COLOURS[truth(tmp_path)[0]]
    colours[0, :3] = (1, 2, 3)
    colours[1, 0] = (200, 0, 0)
    with pytest.raises(ValueError, match="of no class") as caught:
        read_png(png(colours), CLASSES)
    assert str(caught.value) == (
        "holds colours #010203 (3 px), #c80000 (1 px) of no class; known: #000000 = ignore, #ffffff = "
        "ground, #ff0000 = square, #00ff00 = disc, #0000ff = core; paint with these, without soft "
        "edges, or name the colours in `classes`"
    )
    mask = np.zeros((32, 32), np.uint8)
    mask[0, 0], mask[1] = 4, 77
    with pytest.raises(ValueError, match="of no class") as caught:
        read_png(png(mask), CLASSES)
    assert str(caught.value) == (
        "holds grey values 77 (32 px), 4 (1 px) of no class; values are 0 to 3, and 255 = not painted"
    )


def test_classes_without_a_colour_get_colours_that_differ():
    first = make_labels([PaintedClass(name="a"), PaintedClass(name="b")])
    colour = "#{:02x}{:02x}{:02x}".format(*first[1].colour)
    labels = make_labels([PaintedClass(name="a", colour=colour), PaintedClass(name="b")])
    assert labels[0].colour != labels[1].colour


def one_problem(folder):
    with pytest.raises(JobError) as caught:
        read(folder)
    return str(caught.value)


def test_a_folder_in_which_nothing_is_painted_says_where_masks_go(tmp_path):
    folder = pictures_folder(tmp_path / "p")
    assert one_problem(folder) == (
        f"{folder}: none of its 3 pictures is painted; put masks named as the pictures beside "
        "pictures.json, e.g. masks/000003.png"
    )


def test_some_pictures_may_stay_unpainted(tmp_path):
    folder = painted_folder(tmp_path / "p")
    (folder / "masks" / "000008.png").unlink()
    assert [one.picture.number for one in read(folder)] == [3, 21]


def test_a_mask_of_another_size_is_told_with_both(tmp_path):
    folder = painted_folder(tmp_path / "p")
    file = folder / "masks" / "000008.png"
    file.write_bytes(encode_mask(np.zeros((16, 32), np.uint8)))
    assert one_problem(folder) == (
        f"{file}: is 32 x 16 px; its picture is 32 x 32: paint on the picture as it is, or resize the "
        "mask by nearest neighbour"
    )


def test_a_mask_of_another_picture_is_told_with_those_that_are_here(tmp_path):
    folder = painted_folder(tmp_path / "p")
    (folder / "masks" / "000008.png").rename(folder / "masks" / "000009.png")
    assert one_problem(folder) == (
        f"{folder}/masks/000009.png: has a mask of '000009', which is no picture here; they are 000003, "
        "000008, 000021"
    )


@pytest.mark.parametrize("length", [0, 1, 40, -20])
def test_a_half_saved_mask_is_told(length, tmp_path):
    folder = painted_folder(tmp_path / "p")
    file = folder / "masks" / "000008.png"
    file.write_bytes(file.read_bytes()[:length])
    assert one_problem(folder).startswith(
        f"{file}: is empty: it was not saved" if length == 0 else f"{file}: not a whole image ("
    )


@pytest.mark.parametrize("name", ["000008.png.part", "000008.png.crdownload", "000008.png~"])
def test_a_file_that_a_tool_has_not_finished_is_told(name, tmp_path):
    folder = painted_folder(tmp_path / "p")
    (folder / "masks" / "000008.png").rename(folder / "masks" / name)
    assert one_problem(folder) == (
        f"{folder}/masks/{name}: is a file that was not saved completely; save it again, or remove it"
    )


def test_an_archive_is_told_to_be_unpacked(tmp_path):
    folder = painted_folder(tmp_path / "p")
    (folder / "task.zip").write_bytes(b"PK")
    assert one_problem(folder) == f"{folder}/task.zip: is an archive; unpack it here"


def test_a_mask_without_a_painted_pixel_is_told(tmp_path):
    folder = painted_folder(tmp_path / "p")
    file = folder / "masks" / "000008.png"
    file.write_bytes(encode_mask(np.full((32, 32), IGNORE, np.uint8)))
    assert one_problem(folder) == f"{file}: has no painted pixel; paint it, or remove it"


def test_a_picture_that_is_painted_twice_is_told(tmp_path):
    folder = painted_folder(tmp_path / "p")
    copy = folder / "masks" / "000008.mask.png"
    copy.write_bytes((folder / "masks" / "000008.png").read_bytes())
    assert one_problem(folder) == (
        f"{folder}/masks/000008.png: paints 000008, as masks/000008.mask.png does; keep one of them"
    )


def test_several_problems_are_told_a_line_each(tmp_path):
    folder = painted_folder(tmp_path / "p")
    for name in ("000003", "000008"):
        (folder / "masks" / f"{name}.png").write_bytes(b"")
    lines = one_problem(folder).splitlines()
    assert lines[0] == "2 files cannot be used"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        f"  {folder}/masks/000003.png",
        f"  {folder}/masks/000008.png",
    ]


def test_hidden_files_and_odd_ones_are_left_alone(tmp_path):
    folder = painted_folder(tmp_path / "p")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "000099.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("mine")
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert len(read(folder)) == 3


def test_a_picture_too_large_to_be_one_is_refused_before_it_is_unfolded(tmp_path):
    folder = painted_folder(tmp_path / "p")
    file = folder / "masks" / "000008.png"
    file.write_bytes(png(np.zeros((1, 5000), np.uint8)))
    assert "an image of 5000 x 1 px; no side has more than 4096" in one_problem(folder)


def test_a_folder_of_too_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("factory.fit.annotations.folder.MOST_FILES", 5)
    assert "more than 5 files" in one_problem(painted_folder(tmp_path / "p"))

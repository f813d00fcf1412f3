import gzip

import numpy as np
import pytest
from colour_network import COLOURS, cell, pack, png, write_pairs
from PIL import Image
from small_job import make_small

import factory
from factory.downstream.pictures import find_pictures, open_pictures, open_split
from factory.errors import JobError
from factory.export.mark import MARK_NAME
from factory.store import open_store

PAIRS = {"a/1": (cell(), cell()), "b/1": (cell(core=2), cell(core=1)), "b/2": (cell(), cell())}


def test_a_folder_and_a_tar_hold_the_same_pairs(tmp_path):
    folder = write_pairs(tmp_path / "pairs", PAIRS)
    (folder / ".hidden.png").write_bytes(b"x")
    for where in (folder, pack(folder, tmp_path / "pairs.tar")):
        found = open_pictures(where)
        assert found.keys == ("a/1", "b/1", "b/2")
        one = found.read(1)
        assert (one.image == COLOURS[PAIRS["b/1"][0]]).all()
        assert (one.mask == PAIRS["b/1"][1]).all()
        assert open_pictures(where, "b").keys == ("b/1", "b/2")


def test_images_and_masks_in_folders_of_their_own_have_the_names_of_their_file(tmp_path):
    for part, pixels in (("images", COLOURS[cell()]), ("masks", cell())):
        (tmp_path / part / "val").mkdir(parents=True)
        (tmp_path / part / "val/7.png").write_bytes(png(pixels))
    (tmp_path / "classes.txt").write_text("ground\nrim\ncore\n")
    found = open_pictures(tmp_path)
    assert (found.keys, found.classes) == (("val/7",), ("ground", "rim", "core"))
    assert (found.read(0).mask == cell()).all()


def test_a_picture_may_end_in_capitals_as_cameras_write_them(tmp_path):
    (tmp_path / "a.PNG").write_bytes(png(COLOURS[cell()]))
    (tmp_path / "a.mask.png").write_bytes(png(cell()))
    found = open_pictures(tmp_path)
    assert found.keys == ("a",)
    assert (found.read(0).mask == cell()).all()


def told(call):
    with pytest.raises(JobError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_set_of_pairs_is_told_in_one_line(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no pictures with masks; KEY.png beside KEY.mask.png" in told(
        lambda: open_pictures(empty)
    )
    folder = write_pairs(tmp_path / "pairs", PAIRS)
    assert ": c/: holds no pictures" in told(lambda: open_pictures(folder, "c"))
    (folder / "b/2.mask.png").unlink()
    assert "1 without a partner (no mask for b/2)" in told(lambda: open_pictures(folder))
    (folder / "b/2.png").unlink()
    (folder / "b/1.png").unlink()
    assert "(no picture for b/1)" in told(lambda: open_pictures(folder))
    twice = write_pairs(tmp_path / "twice", PAIRS)
    (twice / "b/1.jpg").write_bytes((twice / "b/1.png").read_bytes())
    assert "b/1.jpg and b/1.png have one key" in told(lambda: open_pictures(twice))
    packed = tmp_path / "pairs.tar"
    pack(write_pairs(tmp_path / "more", PAIRS), packed)
    small = tmp_path / "small.tar"
    small.write_bytes(gzip.compress(packed.read_bytes()))
    assert "must not be compressed" in told(lambda: open_pictures(small))
    small.write_bytes(packed.read_bytes()[:700])
    assert "small.tar: " in told(lambda: open_pictures(small))
    assert "no file or folder 'nowhere'" in told(lambda: find_pictures("nowhere", "", ""))
    assert "--split: " in told(lambda: find_pictures(str(packed), "", "val"))
    assert "not a whole tar" in told(lambda: find_pictures(__file__, "", ""))


def test_a_picture_that_cannot_be_used_is_named(tmp_path):
    folder = write_pairs(tmp_path, {"1": (cell(), cell(side=15)), "2": (cell(), cell())})
    (folder / "2.mask.png").write_bytes(b"no picture")
    found = open_pictures(folder)
    assert "1: its mask is 15 x 15 px; 16 x 16 px, as its picture" in told(lambda: found.read(0))
    assert ": 2: " in told(lambda: found.read(1))
    (folder / "2.mask.png").write_bytes(png(COLOURS[cell()]))
    assert "masks are PNG mode L or P" in told(lambda: open_pictures(folder).read(1))


@pytest.mark.parametrize("side", [16, 20])  # of a square, the mask's size tells nothing
def test_a_picture_that_viewers_turn_is_refused_in_a_folder_and_a_tar(tmp_path, side):
    folder = write_pairs(tmp_path / "pairs", {"1": (cell(), cell())})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (16, side)).save(folder / "1.png", exif=exif)
    for where in (folder, pack(folder, tmp_path / "pairs.tar")):
        assert ": 1: it is stored turned (EXIF orientation 6)" in told(
            lambda where=where: open_pictures(where).read(0)
        )


def test_an_export_that_was_killed_is_not_scored_as_if_it_were_whole(tmp_path):
    for part, pixels in (("images", COLOURS[cell()]), ("masks", cell())):
        (tmp_path / part).mkdir()
        (tmp_path / part / "7.png").write_bytes(png(pixels))
    for text in ('{"finished":false}', "", "[]", "no"):
        (tmp_path / MARK_NAME).write_text(text)
        assert "an export that did not finish; run `factory export` again" in told(
            lambda: open_pictures(tmp_path)
        )
    (tmp_path / MARK_NAME).write_text('{"finished":true}')
    assert open_pictures(tmp_path).keys == ("7",)


@pytest.mark.slow
def test_a_dataset_s_held_out_split_is_read_without_being_asked_for(tmp_path):
    splits = {"train": 0.5, "test": 0.5}
    make_small(tmp_path, {"dataset.splits": splits, "dataset.samples_per_shard": 2})
    where = str(tmp_path / "out")
    found = find_pictures(where, "", "")
    held = factory.open_dataset(where, split="test")
    assert found.keys == tuple(sample.key for sample in held)
    assert found.classes == tuple(label.name for label in held.labels)
    assert (found.read(1).mask == held[1].mask).all()
    assert np.array_equal(found.read(1).image, held[1].image)
    assert open_split(open_store(where), "train").keys[0] not in found.keys
    assert "--under: " in told(lambda: find_pictures(where, "a", ""))
    with pytest.raises(JobError, match="val"):
        find_pictures(where, "", "val")

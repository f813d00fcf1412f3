import numpy as np
import pytest
import torch
from pictures import encoded, pictures, write_tar

from factory.errors import JobError
from factory.train_generator.images import load_images


def plain(value, side=16, height=None):
    return encoded(np.full((height or side, side, 3), value, np.uint8))


def test_a_folder_and_a_tar_with_the_same_pictures_are_the_same(tmp_path):
    files = {
        f"{name}/{i}.png": encoded(image)
        for name, images in pictures(3).items()
        for i, image in enumerate(images)
    }
    for name, data in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    write_tar(tmp_path / "some.tar", dict(reversed(files.items())))
    first = load_images(str(tmp_path / "folder"), 32)
    second = load_images(str(tmp_path / "some.tar"), 32)
    assert torch.equal(first.pixels, second.pixels)
    assert first.labels.tolist() == second.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert first.class_names == second.class_names == ("blue", "red")
    expected = np.concatenate(list(pictures(3).values())).transpose(0, 3, 1, 2)
    assert np.array_equal(first.pixels.numpy(), expected)


def test_webdataset_shards_tell_the_class_in_a_file_of_its_own_and_masks_are_no_pictures(tmp_path):
    for shard, value in (("00", 10), ("01", 20)):
        files = {}
        for key, kind in (("a", "x"), ("b", "y")):
            files |= {
                f"{key}.image.png": plain(value),
                f"{key}.mask.png": plain(99),
                f"{key}.cls": kind.encode(),
                f"{key}.json": b"{}",
            }
        write_tar(tmp_path / f"s-{shard}.tar", files)
    found = load_images(str(tmp_path / "s-{00..01}.tar"), 8)
    assert found.class_names == ("x", "y")
    assert found.pixels[:, 0, 0, 0].tolist() == [10, 20, 10, 20]


def test_pictures_without_folders_have_no_classes(tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": plain(1), "2.png": plain(2)})
    found = load_images(str(tmp_path / "a.tar"), 8)
    assert found.class_names == ()
    assert found.labels.tolist() == [0, 0]


def test_the_central_square_is_taken_and_its_pixels_are_means(tmp_path):
    image = np.zeros((8, 16, 3), np.uint8)
    image[:, :4] = 255  # cut off on the left
    image[0, 4:6], image[1, 4:6] = 100, 200
    write_tar(tmp_path / "a.tar", {"1.png": encoded(image), "2.png": encoded(image)})
    found = load_images(str(tmp_path / "a.tar"), 4)
    assert found.pixels[0, :, 0, 0].tolist() == [150] * 3
    assert found.pixels[0].sum() == 450


def test_a_lower_resolution_is_the_mean_too(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[0, 0] = 100
    write_tar(tmp_path / "a.tar", {"1.png": encoded(image), "2.png": encoded(image)})
    found = load_images(str(tmp_path / "a.tar"), 8)
    assert found.at(8) is found
    assert found.at(4).pixels[0, :, 0, 0].tolist() == [25] * 3


def broken(tmp_path, files):
    return str(write_tar(tmp_path / "a.tar", files))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a/1.txt": b"hello"}, "no pictures in .*; allowed: .png"),
        ({"a/1.png": b"no png"}, "a/1.png is not a whole picture; replace it or take it out"),
        ({"a/1.png": plain(1)[:-30]}, "a/1.png is not a whole picture"),
        ({"a/1.png": plain(1, 16, 7)}, "a/1.png is 16 x 7 px; at least 8 are needed on each side"),
        (
            {"a/1.png": plain(1), "a/2.png": plain(1), "3.png": plain(1)},
            "3.png in .* has no class, but others have; put it into its class's folder",
        ),
        ({"a/1.png": plain(1)}, "class 'a' in .* has 1 picture; at least 2 are needed"),
    ],
    ids=["none", "not one", "cut off", "small", "stray", "alone"],
)
def test_pictures_that_cannot_be_learned_from_are_named(tmp_path, files, words):
    with pytest.raises(JobError, match=f"images.uri: {words}"):
        load_images(broken(tmp_path, files), 8)


def test_a_missing_tar_and_one_cut_off_are_named(tmp_path):
    with pytest.raises(JobError, match=r"nothing at .*none.tar; give a folder or tar files"):
        load_images(str(tmp_path / "none.tar"), 8)
    whole = write_tar(tmp_path / "a.tar", {"a/1.png": plain(1), "a/2.png": plain(2)})
    whole.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(JobError, match=r"a.tar is not a whole tar .*; get it again"):
        load_images(str(whole), 8)
    (tmp_path / "b.tar").write_bytes(b"x" * 600)
    with pytest.raises(JobError, match=r"b.tar is not a whole tar"):
        load_images(str(tmp_path / "b.tar"), 8)

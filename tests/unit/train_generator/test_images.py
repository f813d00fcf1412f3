import io
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
import torch
from archives import deep_png, member, png_of, sparse_tar, tar_with
from pictures import encoded, pictures, write_tar
from PIL import Image

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
    with pytest.raises(JobError, match=r"nothing at .*none.tar; give a folder, tar files or a zip"):
        load_images(str(tmp_path / "none.tar"), 8)
    whole = write_tar(tmp_path / "a.tar", {"a/1.png": plain(1), "a/2.png": plain(2)})
    whole.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(JobError, match=r"a.tar is not a whole tar .*; get it again"):
        load_images(str(whole), 8)
    (tmp_path / "b.tar").write_bytes(b"x" * 600)
    with pytest.raises(JobError, match=r"b.tar is not a whole tar"):
        load_images(str(tmp_path / "b.tar"), 8)


def fill(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return str(folder)


def test_sixteen_bit_grey_is_as_bright_as_it_is(tmp_path, caplog):
    ramp = np.linspace(0, 65535, 256).reshape(16, 16, 1).astype(np.uint16)
    uri = fill(tmp_path, {f"a/{i}.png": deep_png(ramp) for i in range(3)})
    found = load_images(uri, 16)
    assert torch.equal(found.pixels[0, 0], torch.from_numpy((ramp[..., 0] >> 8).astype(np.uint8)))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith("pictures_changed pictures=3 how=")


def test_floats_are_refused_by_name_and_mode(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).random((20, 20)).astype(np.float32)).save(file, "TIFF")
    uri = fill(tmp_path, {"a/1.tif": file.getvalue()})
    with pytest.raises(
        JobError, match=r"images\.uri: a/1\.tif is a TIFF of mode F with more than 8"
    ):
        load_images(uri, 16)


def test_pictures_are_upright_and_cut_out_ones_lie_on_white(tmp_path, caplog):
    turned, exif = np.zeros((20, 20, 3), np.uint8), Image.Exif()
    turned[:10] = 255
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(turned).save(file, "JPEG", exif=exif, quality=100)
    cut_out = np.random.default_rng(0).integers(0, 256, (20, 20, 4)).astype(np.uint8)
    cut_out[..., 3] = 0
    cut_out[6:14, 6:14, 3] = 255
    files = {"b/1.jpg": file.getvalue(), "b/2.jpg": file.getvalue()}
    files |= {"c/1.png": encoded(cut_out), "c/2.png": encoded(cut_out)}
    pixels = load_images(fill(tmp_path, files), 20).pixels
    assert pixels[0, :, :, :9].max() < 60
    assert pixels[0, :, :, 11:].min() > 200
    assert pixels[2, :, :6].min() == 255
    inside = pixels[2, :, 6:14, 6:14].permute(1, 2, 0).numpy()
    assert np.array_equal(inside, cut_out[6:14, 6:14, :3])
    assert [record.getMessage() for record in caplog.records] == [
        "pictures_changed pictures=2 how='transparent parts are laid on white'"
    ]


def nvidia(labels):
    files = {f"{i // 4:05d}/img{i:08d}.png": plain(10 * i) for i in range(8)}
    return files | {"dataset.json": json.dumps({"labels": labels}).encode()}


def test_each_of_several_archives_has_nvidia_s_labels_of_its_own(tmp_path):
    for number in range(2):
        labels = [[f"{i // 4:05d}/img{i:08d}.png", i % 2] for i in range(8)]
        folder = fill(tmp_path / str(number), nvidia(labels))
        shutil.make_archive(str(tmp_path / f"nv-{number}"), "zip", folder)
    found = load_images(str(tmp_path / "nv-{0..1}.zip"), 16)
    assert found.class_names == ("0", "1")
    assert found.labels.bincount().tolist() == [8, 8]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_nvidia_s_folders_are_no_classes_and_its_labels_are(tmp_path, kind):
    files = nvidia([[f"{i // 4:05d}/img{i:08d}.png", i % 2] for i in range(8)])
    uri = fill(tmp_path / "nv", files)
    if kind == "zip":
        uri = shutil.make_archive(str(tmp_path / "nv"), "zip", uri)
    if kind == "tar":
        uri = str(write_tar(tmp_path / "nv.tar", files))
    found = load_images(uri, 16)
    assert found.class_names == ("0", "1")
    assert found.labels.tolist() == [0] * 4 + [1] * 4
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 10, 30, 50, 70]


def test_nvidia_s_pictures_without_labels_have_no_classes(tmp_path):
    found = load_images(fill(tmp_path, nvidia(None)), 16)
    assert found.class_names == ()
    assert found.labels.tolist() == [0] * 8


def test_a_picture_that_nvidia_s_labels_lack_is_named(tmp_path):
    files = nvidia([[f"{i // 4:05d}/img{i:08d}.png", 0] for i in range(7)])
    with pytest.raises(JobError, match=r"dataset.json has no label for 00001/img00000007\.png"):
        load_images(fill(tmp_path, files), 16)


def test_classes_named_by_numbers_have_these_numbers(tmp_path):
    uri = fill(tmp_path, {f"{c}/{i}.png": plain(c) for c in range(12) for i in range(2)})
    found = load_images(uri, 16)
    assert found.class_names == tuple(map(str, range(12)))
    assert found.pixels[:, 0, 0, 0].tolist() == found.labels.tolist()


def test_a_class_folder_that_is_a_link_is_a_class(tmp_path):
    fill(tmp_path / "real", {"1.png": plain(1), "2.png": plain(2)})
    uri = fill(tmp_path / "mix", {"a/1.png": plain(1), "a/2.png": plain(2)})
    (tmp_path / "mix/b").symlink_to(tmp_path / "real")
    assert load_images(uri, 16).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a/1.png": png_of(20_000, 20_000)}, "a/1.png is "),
        ({"a/1.png": png_of(9_000, 9_000)}, "a/1.png is 9000 x 9000 px; at most 67 megapixels"),
        ({"a/1.png": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, "a/1.png is not a whole picture"),
        ({"../x.cls": b"", "a/1.cls": b"x" * 9999, "a/1.png": plain(1)}, r"a/1.cls is 9,999 bytes"),
        (
            {"1.cls": b"a\x1bb", "2.cls": b"c", "1.png": plain(1), "2.png": plain(1)},
            "'a.x1bb' cannot",
        ),
    ],
)
def test_odd_files_in_a_tar_are_named(tmp_path, files, words):
    with pytest.raises(JobError, match=f"images.uri: {words}") as caught:
        load_images(broken(tmp_path, files), 8)
    assert "\n" not in str(caught.value)


def test_members_that_are_no_files_are_named_if_they_are_to_be_pictures(tmp_path):
    tar_with(tmp_path / "a.tar", member("a/1.png", tarfile.SYMTYPE, "/etc/passwd"))
    with pytest.raises(JobError, match=r"a/1.png is a link; put an ordinary file there"):
        load_images(str(tmp_path / "a.tar"), 8)
    sparse_tar(tmp_path / "b.tar", "a/1.png", 20 * 2**30)
    with pytest.raises(JobError, match=r"a/1.png is a sparse file; put an ordinary file there"):
        load_images(str(tmp_path / "b.tar"), 8)
    sparse_tar(tmp_path / "c.tar", "a/1.txt", 20 * 2**30)
    with pytest.raises(JobError, match="no pictures in"):
        load_images(str(tmp_path / "c.tar"), 8)


def test_a_folder_with_a_pipe_in_it_does_not_hang(tmp_path):
    uri = fill(tmp_path, {"a/1.png": plain(1), "a/2.png": plain(1)})
    os.mkfifo(tmp_path / "a/3.png")
    assert len(load_images(uri, 8).labels) == 2

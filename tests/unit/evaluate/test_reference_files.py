import io
import os
import tarfile
import tracemalloc

import numpy as np
import pytest
from archives import png_of, sparse_tar
from PIL import Image
from small_job import make_small

from factory.errors import DamageError, JobError, PluginError
from factory.evaluate.open_reference import open_reference
from factory.evaluate.reference import ImageInput, Reference, ScoredSample
from factory.pack.image import encode_image, encode_mask
from factory.spec import EncodeSpec
from factory.store import open_store

TRUTH = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder)
    return open_store(str(folder / "out"))


def sample(key, side=None, image=None):
    shape = TRUTH.shape if side is None else (side, side)
    return ScoredSample(key, np.zeros(shape, np.uint8), image)


def known(path, store, images=None):
    reference = open_reference(str(path), store, images or ImageInput())
    assert isinstance(reference, Reference)
    return reference


def refusal(path, store):
    with pytest.raises((JobError, PluginError)) as caught:
        known(path, store).masks([sample("a", image=np.zeros((3, 4, 3), np.uint8))])
    return str(caught.value)


def as_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


FILES = {"a.mask.png": encode_mask(TRUTH), "b.mask.png": encode_mask(TRUTH + 1), "a.png": b"image"}


def test_a_folder_of_masks_is_matched_by_key(tmp_path, store):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    found = known(tmp_path, store).masks([sample("b"), sample("none"), sample("a")])
    assert found[1] is None
    assert (found[0] == TRUTH + 1).all()
    assert (found[2] == TRUTH).all()


@pytest.mark.parametrize("folder", ["", "x/"])
def test_a_tar_and_a_folder_of_tars_are_matched_by_key(tmp_path, store, folder):
    as_tar(tmp_path / "one.tar", {folder + name: data for name, data in FILES.items()})
    for path in (tmp_path, tmp_path / "one.tar"):
        found = known(path, store).masks([sample("b"), sample("none")])
        assert (found[0] == TRUTH + 1).all()
        assert found[1] is None


def test_plain_png_are_masks_where_no_name_says_mask(tmp_path, store):
    (tmp_path / "a.png").write_bytes(encode_mask(TRUTH))
    assert (known(tmp_path, store).masks([sample("a")])[0] == TRUTH).all()


def test_a_palette_png_gives_its_indices(tmp_path, store):
    picture = Image.fromarray(TRUTH).convert("P")
    picture.putpalette(list(range(255, 219, -1)))
    picture.save(tmp_path / "a.png")
    assert (known(tmp_path, store).masks([sample("a")])[0] == TRUTH).all()


def test_another_dataset_is_a_reference_with_names(store):
    found = known(store.uri, store)
    assert found.classes == ("cluster_00", "cluster_01", "cluster_02", "cluster_03")
    assert found.masks([sample("000000009", side=32)])[0].shape == (32, 32)


def test_files_that_cannot_serve_are_told(tmp_path, store):
    assert refusal(tmp_path / "none", store).startswith(
        f"--reference: no file '{tmp_path}/none'; give 'generator', a TorchScript (.pt) or ONNX "
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refusal(empty, store) == (
        f"--reference: {empty} holds no masks; it takes KEY.mask.png or KEY.png, as files of a folder"
        " or in tars"
    )
    twice = tmp_path / "twice"
    twice.mkdir()
    as_tar(twice / "y.tar", FILES)
    as_tar(twice / "z.tar", {"sub/a.mask.png": b""})
    assert refusal(twice, store) == (
        f"--reference: {twice} holds more than one mask for a key; give one folder"
    )
    (tmp_path / "broken.tar").write_bytes(b"x" * 2000)
    assert refusal(tmp_path / "broken.tar", store).startswith(
        f"--reference: {tmp_path}/broken.tar: not a whole tar or zip ("
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (encode_mask(TRUTH[:2]), "mask of a is 2 x 4 px, the dataset's 3 x 4 px; resize "),
        (b"no image", "mask of a: not a whole image ("),
        (
            encode_image(np.zeros((3, 4, 3), np.uint8), EncodeSpec()),
            "mask of a: found PNG mode RGB; masks are PNG mode L or P",
        ),
    ],
)
def test_a_reference_mask_that_does_not_fit_is_told(tmp_path, store, data, text):
    (tmp_path / "a.mask.png").write_bytes(data)
    assert refusal(tmp_path, store).startswith(f"--reference: {tmp_path}/a.mask.png: {text}")


def test_names_that_begin_with_a_dot_are_not_masks(tmp_path, store):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / f"._{name}").write_bytes(b"Mac OS X")
    (tmp_path / ".trash").mkdir()
    (tmp_path / ".trash/a.mask.png").write_bytes(encode_mask(TRUTH + 9))
    as_tar(tmp_path / "._x.tar", {"a.mask.png": b""})
    as_tar(tmp_path / ".trash/x.tar", {"a.mask.png": b""})
    assert (known(tmp_path, store).masks([sample("b")])[0] == TRUTH + 1).all()


def test_hidden_members_of_a_tar_are_not_masks(tmp_path, store):
    hidden = {f"x/._{name}": b"Mac OS X" for name in FILES} | {".x/a.mask.png": b""}
    as_tar(tmp_path / "one.tar", FILES | hidden)
    assert (known(tmp_path, store).masks([sample("b")])[0] == TRUTH + 1).all()


def test_masks_are_ordinary_files(tmp_path, store):
    (tmp_path / "a.mask.png").write_bytes(encode_mask(TRUTH))
    os.mkfifo(tmp_path / "b.mask.png")
    os.mkfifo(tmp_path / "c.tar")
    (tmp_path / "d.mask.png").symlink_to("/dev/zero")
    (tmp_path / "e.mask.png").symlink_to("nowhere")
    (tmp_path / "f.mask.png").mkdir()
    found = known(tmp_path, store).masks([sample(key) for key in "abcdef"])
    assert [mask is not None for mask in found] == [True, False, False, False, False, False]


@pytest.mark.parametrize("claims", [(20_000, 20_000), (8_000, 8_000)])
def test_a_mask_that_claims_to_be_huge_is_not_decoded(tmp_path, store, claims):
    (tmp_path / "a.mask.png").write_bytes(png_of(*claims, colour=0))
    tracemalloc.start()
    text = refusal(tmp_path, store)
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()
    assert "mask of a" in text
    assert f"{claims[0]} x {claims[1]} px" in text or "far too many pixels" in text


def test_a_sparse_member_and_a_cut_tar_are_told(tmp_path, store):
    sparse_tar(tmp_path / "x.tar", "a.mask.png", 20 * 2**30)
    assert "a.mask.png in it is a sparse file; pack plain files" in refusal(tmp_path, store)
    (tmp_path / "x.tar").unlink()
    as_tar(tmp_path / "y.tar", FILES)
    data = (tmp_path / "y.tar").read_bytes()
    (tmp_path / "y.tar").write_bytes(data[:1024])
    assert "it ends early" in refusal(tmp_path, store)


def test_a_mask_file_with_more_bytes_than_any_mask_is_told(tmp_path, store):
    with (tmp_path / "a.mask.png").open("wb") as file:
        file.truncate(2**29)
    assert "536,870,912 bytes large; at most" in refusal(tmp_path, store)


def test_a_label_table_of_gigabytes_of_holes_is_not_read(tmp_path, store):
    (tmp_path / "000000000.mask.png").write_bytes(b"")
    with (tmp_path / "labels.json").open("wb") as file:
        file.truncate(40 * 2**30)
    with pytest.raises(DamageError, match="a label table has at most 4,194,304"):
        known(tmp_path, store)

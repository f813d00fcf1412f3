import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import TAR, replaced, rewrite

from factory.dataset.state import find_state
from factory.errors import DamageError, JobError, StoreError
from factory.evaluate.masks import evaluate_masks
from factory.evaluate.open_reference import open_reference
from factory.evaluate.reading import read_counts
from factory.evaluate.reference import ImageInput, ScoredSample
from factory.pack.image import decode_image, decode_mask, encode_mask
from factory.pack.tar import read_members
from factory.store import open_store


@pytest.fixture
def store(finished):
    return open_store(str(finished))


def known(store, reference="generator"):
    return open_reference(str(reference), store, ImageInput())


def members_of(store, ending):
    """Every file with `ending`, by key, read without the code under test."""
    return {
        name.partition(".")[0]: data
        for record in find_state(store).records
        for name, data in read_members(Path(store.uri) / record.path)
        if name.endswith(ending)
    }


def masks_of(store):
    return {key: decode_mask(data).copy() for key, data in members_of(store, ".mask.png").items()}


def as_folder(folder, masks):
    folder.mkdir()
    for key, mask in masks.items():
        (folder / f"{key}.mask.png").write_bytes(encode_mask(mask))
    return folder


def test_counts_are_those_of_the_pixels(store):
    reference = known(store)
    table = read_counts(store, reference, None)
    masks = masks_of(store)
    assert table.keys == tuple(masks)
    for position, (key, mask) in enumerate(masks.items()):
        (truth,) = reference.masks([ScoredSample(key, mask, None)])
        expected = np.zeros((4, 4), np.int64)
        np.add.at(expected, (truth, mask), 1)
        one = table.only(np.arange(len(table.keys)) == position)
        assert one.pooled(4, 4).tolist() == expected.tolist()


def test_a_dataset_scores_one_against_itself_under_other_names(tmp_path, store):
    swapped = {key: np.uint8(3) - mask for key, mask in masks_of(store).items()}
    scores = evaluate_masks(store, known(store, as_folder(tmp_path / "ref", swapped)))
    for column in (scores.all_classes, scores.foreground):
        assert column.miou_per_image == column.miou_global == column.pixel_accuracy == 1
        assert [column.ari, column.ami, column.v_measure] == pytest.approx([1, 1, 1])
    assert [row.clusters for row in scores.classes] == [
        (f"cluster_0{3 - class_id}",) for class_id in range(4)
    ]
    assert [row.name for row in scores.classes] == ["0", "1", "2", "3"]
    assert scores.unassigned == ()
    assert (scores.background, scores.num_samples, scores.num_ignored_px) == ("0", 13, 0)
    assert scores.num_matched_on + scores.num_scored == 13
    assert sum(row.share for row in scores.classes) == pytest.approx(1)


def test_the_matching_is_scored_on_samples_it_was_not_fitted_on(tmp_path, store):
    masks = masks_of(store)
    table = read_counts(store, known(store), None)
    fitted, scored = table.halves()
    lying = {key: np.uint8(3) - mask if key in fitted.keys else mask for key, mask in masks.items()}
    scores = evaluate_masks(store, known(store, as_folder(tmp_path / "ref", lying)))
    assert scores.num_scored == len(scored.keys)
    assert scores.all_classes.pixel_accuracy < 0.1


def test_without_background_its_pixels_and_its_class_are_left_out(tmp_path, store):
    truth = masks_of(store)
    for mask in truth.values():
        mask[:16] = 0
    reference = known(store, as_folder(tmp_path / "ref", truth))
    scores = evaluate_masks(
        store, reference, match="names", names=[f"cluster_0{k}" for k in range(4)]
    )
    rows = scores.classes
    assert scores.foreground.pixel_accuracy == 1 > scores.all_classes.pixel_accuracy
    assert scores.foreground.miou_global == pytest.approx(np.mean([r.iou_global for r in rows[1:]]))
    assert scores.all_classes.miou_global == pytest.approx(np.mean([r.iou_global for r in rows]))
    assert scores.foreground.ari == pytest.approx(1)
    assert scores.all_classes.ari < 1
    for background in ("2", "cluster_02"):
        other = evaluate_masks(store, reference, names=reference_names(), background=background)
        assert other.background == "cluster_02"
    assert evaluate_masks(store, reference, background="none").foreground is None


def reference_names():
    return [f"cluster_0{k}" for k in range(4)]


def test_ignored_pixels_are_counted_and_not_scored(tmp_path, store):
    truth = masks_of(store)
    for mask in truth.values():
        mask[0] = 255
    wrong = next(iter(truth.values()))
    wrong[1, 0] = (wrong[1, 0] + 1) % 4
    reference = known(store, as_folder(tmp_path / "ref", truth))
    scores = evaluate_masks(store, reference, match="names", names=reference_names())
    assert scores.num_ignored_px == 13 * 32
    assert scores.all_classes.pixel_accuracy == pytest.approx(1 - 1 / (13 * 31 * 32))
    assert scores.num_matched_on == 0
    assert scores.num_scored == 13


def test_samples_without_a_reference_are_left_out_and_the_first_can_be_chosen(tmp_path, store):
    some = dict(list(masks_of(store).items())[3:])
    reference = known(store, as_folder(tmp_path / "ref", some))
    assert read_counts(store, reference, None).keys == tuple(some)
    assert read_counts(store, reference, 5).keys == tuple(some)[:2]


def test_a_network_sees_the_images_of_the_samples(tmp_path, store):
    class Red(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (images[:, 0] > 0.5).long()

    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(Red(), torch.rand(1, 3, 4, 4)).save(str(tmp_path / "red.pt"))
    table = read_counts(store, known(store, tmp_path / "red.pt"), None)
    images = {k: decode_image(data) for k, data in members_of(store, ".image.png").items()}
    expected = np.zeros((2, 4), np.int64)
    for key, mask in masks_of(store).items():
        np.add.at(expected, ((images[key][..., 0] > 127).astype(int), mask), 1)
    assert table.pooled(2, 4).tolist() == expected.tolist()


def refusal(kind, store, reference, **settings):
    with pytest.raises(kind) as caught:
        evaluate_masks(store, reference, **settings)
    return str(caught.value)


def test_settings_that_do_not_fit_are_told(tmp_path, store):
    reference = known(store)
    assert refusal(JobError, store, reference, background="sky") == (
        "--background: found 'sky'; allowed: none, 0 to 3, or one of ground, square, disc, core"
    )
    for odd in ("9" * 5000, "\u0663"):
        assert refusal(JobError, store, reference, background=odd).startswith(
            f"--background: found {odd[:40]!r}; allowed: none, 0 to 3"
        )
    assert refusal(JobError, store, reference, match="names") == (
        "--match names: the dataset's classes (cluster_00, cluster_01, cluster_02, cluster_03) and "
        "the reference's (ground, square, disc, core) have no name in common; give "
        "--reference-names, or use --match greedy"
    )
    assert refusal(JobError, store, reference, names=["a", "b"]) == (
        "the reference's masks hold class 3, but it has names for 2: a, b; name all of them"
    )
    assert refusal(JobError, store, reference, limit=1) == (
        "--match greedy: 1 samples are too few to fit the matching on one half and score it on the "
        "other; use more samples, or --match names"
    )
    strangers = as_folder(tmp_path / "ref", {"cat": np.zeros((32, 32), np.uint8)})
    assert refusal(JobError, store, known(store, strangers)) == (
        f"--reference: {strangers} has a mask with a pixel to score for none of the samples of "
        f"{store.uri}; the name of a mask is the sample's key, such as 000000000.mask.png"
    )


def test_a_dataset_that_is_not_whole_is_told(tmp_path, finished):
    shutil.copytree(finished, tmp_path / "out")
    store = open_store(str(tmp_path / "out"))
    reference = known(store)
    tar = tmp_path / "out" / TAR
    whole = tar.read_bytes()
    tar.write_bytes(whole[:1000])
    assert refusal(DamageError, store, reference) == (
        f"{tar}: damaged (1000 bytes, its receipt says {len(whole)}); `factory repair {store.uri}` "
        "takes it out and the next run makes it again"
    )
    tar.unlink()
    assert refusal(DamageError, store, reference) == (
        f"{store.uri}/data/train/tiny-000001.tar: missing, though its receipt is there; restore it, "
        f"or `factory repair {store.uri}` takes the receipt back and the next run makes it again"
    )
    shutil.rmtree(tmp_path / "out/receipts")
    assert refusal(StoreError, store, reference) == (
        f"{store.uri}: no shard is committed yet; run the job first"
    )


@pytest.mark.slow
def test_files_are_scored_without_torch(tmp_path, store):
    ref = as_folder(tmp_path / "ref", masks_of(store))
    code = (
        "import sys; from factory.__main__ import app\n"
        f"sys.argv = ['factory', 'eval', 'masks', {store.uri!r}, '--reference', {str(ref)!r}]\n"
        "try:\n    app()\nfinally:\n    assert not {'torch', 'ray'} & {*sys.modules}"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "mIoU global           1.0000     1.0000\n" in ran.stdout


def test_an_image_that_does_not_open_is_damage(tmp_path, store):
    class Itself:
        name, classes, needs_images = "itself", (), True

        def masks(self, samples):
            return [sample.mask for sample in samples]

    assert read_counts(store, Itself(), None).pooled(4, 4).trace() == 13 * 32 * 32
    root = tmp_path / "out"
    shutil.copytree(store.uri, root)
    rewrite(root, replaced("000000005.image.png", b"no image"))
    assert refusal(DamageError, open_store(str(root)), Itself()).startswith(
        f"{root / TAR}: damaged (sample 000000005: not a whole image"
    )

import csv
import json
import threading

import numpy as np
import pytest
import torch
from colour_network import COLOURS, cell
from PIL import Image
from safetensors.torch import save_file
from small_job import make_small
from typer.testing import CliRunner

import factory
from factory.cli.app import app
from factory.downstream.translation import (
    FILE_NAME,
    LOG_NAME,
    STATE_NAME,
    TranslationTraining,
    open_translator,
)
from factory.downstream.translation_network import LATENTS, make_planes
from factory.downstream.translation_settings import TranslationSettings
from factory.errors import Interrupted, JobError, PluginError, StoreError

pytestmark = pytest.mark.slow

SETTINGS = TranslationSettings(steps=4, batch_size=4, every=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder)
    return folder / "out"


@pytest.fixture(scope="module")
def trained(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    run(made, folder)
    return folder


def training(made, folder, settings=SETTINGS):
    folder.mkdir(exist_ok=True)
    return TranslationTraining(factory.open_dataset(made), folder, settings)


def run(made, folder, stop_after=None, settings=SETTINGS):
    stop = threading.Event()

    def progress(done, _total, _difference):
        if done == stop_after:
            stop.set()

    return training(made, folder, settings).run(stop, progress)


def test_a_stopped_training_resumes_to_the_same_bytes(made, trained, tmp_path):
    with pytest.raises(Interrupted, match="stopped after 3 steps"):
        run(made, tmp_path, stop_after=3)
    run(made, tmp_path)
    for name in (FILE_NAME, LOG_NAME):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()
    rows = list(csv.DictReader((tmp_path / LOG_NAME).read_text().splitlines()))
    assert [row["step"] for row in rows] == ["2", "4"]
    assert {"critic", "score", "features", "pixels"} < rows[0].keys()


def test_images_follow_mask_and_seed_and_nothing_else(made, trained):
    translator = open_translator(trained)
    assert translator.facts.classes[0] == "cluster_00"
    assert translator.facts.dataset_id == factory.open_dataset(made).manifest.dataset_id
    masks = torch.from_numpy(np.stack([s.mask for s in factory.open_dataset(made)][:2]))
    first = translator.translate(masks.long())
    assert first.shape == (2, 32, 32, 3)
    assert (translator.translate(masks.long()) == first).all()
    assert (translator.translate(masks.long(), seed=1) != first).any()
    other = translator.translate(torch.zeros(2, 32, 32, dtype=torch.int64))
    assert (other != first).any()
    assert translator.translate(torch.full((1, 8, 16), 255)).shape == (1, 8, 16, 3)


def test_it_learns_what_each_class_looks_like(made, tmp_path):
    one = training(made, tmp_path, SETTINGS)
    rng = np.random.default_rng(0)
    for one.step in range(60):
        places = rng.integers(8, 24, (4, 2))
        masks = np.stack([cell(side=32, core=4, rim=8, at=tuple(at)) for at in places])
        images = torch.from_numpy(COLOURS[masks]).permute(0, 3, 1, 2).float()
        one._make_step(images, torch.from_numpy(masks).long())
    network = one.translator.eval()
    mask = cell(side=32, core=4, rim=8, at=(12, 20))
    with torch.inference_mode():
        planes = make_planes(torch.from_numpy(mask)[None].long(), 4)
        image = network(planes, torch.zeros(1, LATENTS))[0]
    right = image.argmax(dim=0).numpy() == mask
    assert min(right[mask == k].mean() for k in range(3)) > 0.7


def test_planes_have_a_one_for_the_class_and_nothing_for_ignored_pixels():
    planes = make_planes(torch.tensor([[[0, 2, 255]]]), 3)
    assert planes[0, :, 0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_another_training_and_a_damaged_state_are_refused(made, trained, tmp_path):
    changed = SETTINGS.model_copy(update={"seed": 1})
    with pytest.raises(JobError, match="a training with other settings, or on other pairs"):
        training(made, trained, changed)
    (tmp_path / STATE_NAME).write_bytes(b"half")
    with pytest.raises(StoreError, match=r"state\.pt: cannot be read"):
        training(made, tmp_path)


def test_files_that_are_no_translator_are_told(trained, tmp_path):
    for name, write in (
        ("a", lambda path: path.write_bytes(b"x")),
        ("b", lambda path: save_file({"w": torch.zeros(1)}, path)),
    ):
        path = tmp_path / name
        write(path)
        with pytest.raises(PluginError, match="is no translator"):
            open_translator(path)
    with pytest.raises(JobError, match="no such file; give a translator"):
        open_translator(tmp_path)


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_commands_train_draw_a_sheet_ask_a_network_and_translate(made, tmp_path):
    net, out = tmp_path / "net", tmp_path / "translator"
    result = call("train", made, "-o", net, "--steps", 2, "--batch-size", 4, "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["output"], facts["steps"], facts["miou"]) == (f"{net}/model.pt", 2, None)
    assert facts["classes"][0] == "cluster_00"
    assert "step 2 of 2" in result.stderr
    words = ("train-translation", made, "-o", out, "--steps", 2, "--batch-size", 4)
    result = call(*words, "--model", net)
    assert result.exit_code == 0, result.output
    assert "mIoU of model.pt with the masks: 0." in result.output
    assert size_of(out / "sheet.png") == (8 * 128, 5 * 128)
    facts = json.loads(call(*words, "--model", net, "--json").stdout)
    assert facts["sheet"] == f"{out}/sheet.png"
    assert 0 <= facts["miou"] <= 1 >= facts["miou_of_images"] >= 0
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(mask)
    result = call("translate", out, mask, "-o", tmp_path / "new/image.png", "--json")
    assert json.loads(result.stdout) == {"output": f"{tmp_path}/new/image.png", "seed": 0}
    assert size_of(tmp_path / "new/image.png") == (32, 32)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((31, 32), np.uint8), "31 x 32 px; multiples of 8"),
        (np.full((32, 32), 77, np.uint8), "found class 77; 0 = cluster_00"),
        (np.zeros((32, 32, 3), np.uint8), "masks are PNG mode L or P"),
    ],
)
def test_a_mask_that_cannot_be_translated_is_told(pixels, said, trained, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    result = call("translate", trained, tmp_path / "mask.png", "-o", tmp_path / "image.png")
    assert result.exit_code == 2
    assert said in result.output
    assert result.output.count("\n") == 1

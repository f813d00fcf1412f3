import dataclasses
import json
import math
import statistics
import threading

import numpy as np
import pytest
import torch
from pictures import (
    encoded,
    pictures,
    small_document,
    small_spec,
    small_training,
    tar_of_pictures,
    write_tar,
)
from PIL import Image
from safetensors.torch import load_file
from stand_in import META, no_numbers
from typer.testing import CliRunner

from factory.checkpoint import read_checkpoint, write_safetensors
from factory.checkpoint.base import Checkpoint
from factory.cli.app import app
from factory.data import LatentBatch
from factory.errors import Interrupted, JobError, StoreError
from factory.generate.numerics import Numerics, to_bytes
from factory.generate.stylegan2.generator import StyleGAN2
from factory.generate.weights.find import find_weights
from factory.spec import GeneratorSpec
from factory.train_generator import generator
from factory.train_generator.augment import Adaptation
from factory.train_generator.generator import network_of
from factory.train_generator.images import LabelledImages
from factory.train_generator.spec import NetworkSpec
from factory.train_generator.spread import spread_of
from factory.train_generator.state import STATE_NAME, encode_state
from factory.train_generator.step import Step, draw_batch, step_rng
from factory.train_generator.trainer import (
    BEST_NAME,
    SCORES_NAME,
    WEIGHTS_NAME,
    pack_state,
    resolution_at,
)

NEVER = threading.Event()
CPU = torch.device("cpu")


def rows(folder):
    return [json.loads(line) for line in (folder / SCORES_NAME).read_text().splitlines()]


@pytest.mark.slow
def test_training_brings_samples_nearer_to_the_pictures_and_their_classes(tar, tmp_path):
    spec = {
        "schedule.num_images": 16_000,
        "schedule.batch_size": 16,
        "schedule.r1_gamma": 0.02,
        "schedule.ema_images": 1000,
        "run.num_judged": 200,
        "run.judge_every_images": 100_000,
        "run.save_every_images": 100_000,
    }
    scores = small_training(tar, tmp_path, spec).run(NEVER)
    first, last = rows(tmp_path)
    assert (first["images"], last["images"]) == (0, 16_000)
    assert last["kid"] == scores.kid < 0.001 * first["kid"]
    assert scores.fidelity > 0.95
    assert scores.recall > first["recall"], "how much depends on the last digits of sums"


@pytest.mark.slow
def test_stopping_and_going_on_gives_the_same_bytes_as_never_stopping(tar, tmp_path):
    overrides = {"schedule.path_length_weight": 2, "schedule.start_resolution": 8,
                 "network.resolution": 16, "schedule.images_per_resolution": 40,
                 "schedule.warm_up_images": 8}  # fmt: skip
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    small_training(tar, whole, overrides | {"schedule.num_images": 64}).run(NEVER)
    for num_images in (32, 64):
        small_training(tar, halves, overrides | {"schedule.num_images": num_images}).run(NEVER)
    first, second = small_training(tar, whole, overrides), small_training(tar, halves, overrides)
    assert second.state.num_steps == 8
    second.state.scores = first.state.scores  # one was scored once more, after the first half
    assert encode_state(first.state) == encode_state(second.state)
    assert (whole / WEIGHTS_NAME).read_bytes() == (halves / WEIGHTS_NAME).read_bytes()


@pytest.mark.slow
def test_a_request_to_stop_saves_and_says_how_to_go_on(tar, tmp_path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match=r"stopped after 0 pictures; run it again to resume"):
        small_training(tar, tmp_path).run(stop)
    assert (tmp_path / STATE_NAME).is_file()


def probabilities(training, num_steps):
    found = []
    for _ in range(num_steps):
        training._step()
        found.append(training.state.adaptation.p)
    return found


@pytest.mark.slow
def test_pictures_learned_by_heart_raise_the_augmentation_and_many_lower_it_again(tar, tmp_path):
    many, few = small_training(tar, tmp_path / "many"), small_training(tar, tmp_path / "few")
    rows = torch.tensor([0, 1, -2, -1])
    few._shown = LabelledImages(
        few.images.pixels[rows], few.images.labels[rows], few.images.class_names
    )
    of_many, of_few = probabilities(many, 400), probabilities(few, 400)
    assert of_few[-1] > 3 * of_many[-1]
    assert of_few[-1] > 0.8 * max(of_few), "it has not turned back"
    assert of_many[-1] < 0.8 * max(of_many)


@pytest.mark.slow
def test_what_is_written_makes_the_same_images_in_the_house_generator(tar, tmp_path):
    training = small_training(tar, tmp_path)
    training.run(NEVER)
    spec = GeneratorSpec(kind="stylegan2", weights=str(tmp_path / WEIGHTS_NAME))
    house = StyleGAN2(spec, find_weights(spec).path, CPU)
    state = training.state
    network = network_of(state.ema, state.kwargs, Numerics(CPU, torch.float32))
    z = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(2)[[0, 1, 0, 1]]
    with torch.no_grad():
        ours, _ = network.synthesise(network.styles(z, labels), network.const_noise())
        theirs, _ = house.network.synthesise(
            house.network.styles(z, labels), house.network.const_noise()
        )
    assert (ours - theirs).abs().max() <= 1e-5
    latents = LatentBatch(np.arange(4), z.numpy(), np.array([0, 1, 0, 1]), 1.0, None, None)
    assert torch.equal(house.generate(latents, ()).images, to_bytes(ours))
    assert read_checkpoint(tmp_path / WEIGHTS_NAME).notes == ["trained on 64 real pictures shown"]
    assert house.facts.class_names == ("blue", "red")
    assert house.facts.attribution == "Nobody"
    assert house.facts.license == "CC0-1.0"


@pytest.mark.slow
def test_the_centre_of_truncation_is_the_mean_style(tar, tmp_path):
    training = small_training(tar, tmp_path)
    training.run(NEVER)
    network = network_of(training.state.ema, training.state.kwargs, Numerics(CPU, torch.float32))
    z = torch.randn(4000, 16, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        ws = network.mapping(z, torch.eye(2)[torch.arange(4000) % 2])
    written = load_file(tmp_path / WEIGHTS_NAME)["mapping.w_avg"]
    assert (written - ws.mean(dim=0)).abs().max() < 0.1 * ws.std()


@pytest.mark.slow
def test_weights_pass_through_convert_unchanged_in_nvidias_names(tar, tmp_path):
    small_training(tar, tmp_path).run(NEVER)
    converted = tmp_path / "again.safetensors"
    result = CliRunner().invoke(app, ["convert", str(tmp_path / BEST_NAME), "-o", str(converted)])
    assert result.exit_code == 0, result.output
    before, after = read_checkpoint(tmp_path / BEST_NAME), read_checkpoint(converted)
    assert before.tensors.keys() == after.tensors.keys()
    assert {"mapping.fc0.weight", "synthesis.b8.conv0.affine.weight"} <= after.tensors.keys()
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in before.tensors)
    assert after.notes == before.notes


@pytest.mark.slow
def test_growing_changes_no_image_before_it_learns(tar, tmp_path):
    overrides = {"network.resolution": 16, "schedule.start_resolution": 8}
    training = small_training(tar, tmp_path, overrides)
    state = training.state
    at = Numerics(CPU, torch.float32)
    z, labels = torch.randn(2, 16), torch.eye(2)
    before = network_of(state.generator, state.kwargs, at)
    small, _ = before.synthesise(before.styles(z, labels), before.const_noise())
    training._grow(16, torch.Generator().manual_seed(0))
    after = network_of(state.generator, state.kwargs, at)
    large, _ = after.synthesise(after.styles(z, labels), after.const_noise())
    block = after.blocks[-1]
    assert torch.allclose(large, block.upsample_image(small), atol=1e-5)
    assert state.ema.keys() == state.generator.keys()


def test_resolutions_double_until_the_last(tar, tmp_path):
    overrides = {"network.resolution": 32, "schedule.start_resolution": 8,
                 "schedule.images_per_resolution": 100}  # fmt: skip
    spec = small_spec(tar, tmp_path, overrides)
    assert [resolution_at(spec, n) for n in (0, 99, 100, 199, 200, 10**9)] == [8, 8, 16, 16, 32, 32]


@pytest.mark.slow
def test_the_narrowest_network_that_is_allowed_learns(tar, tmp_path):
    narrow = {"network.channel_base": 16, "network.resolution": 16, "schedule.num_images": 16}
    training = small_training(tar, tmp_path, narrow)
    training.run(NEVER)
    assert generator.widths(training.state.generator) == {4: 4, 8: 2, 16: 1}


@pytest.mark.slow
def test_a_schedule_that_is_changed_on_the_way_never_takes_back_what_has_grown(tar, tmp_path):
    grows = {"network.resolution": 32, "schedule.start_resolution": 8, "schedule.num_images": 16,
             "schedule.images_per_resolution": 8, "schedule.warm_up_images": 0}  # fmt: skip
    small_training(tar, tmp_path, grows).run(NEVER)
    later = {"schedule.images_per_resolution": 1000, "schedule.num_images": 24}
    training = small_training(tar, tmp_path, grows | later)
    assert training.state.resolution == 16
    training.run(NEVER)
    assert training.state.resolution == 16
    sooner = {"schedule.images_per_resolution": 4, "schedule.num_images": 32}
    small_training(tar, tmp_path, grows | sooner).run(NEVER)
    assert rows(tmp_path)[-1]["resolution"] == 32


@pytest.mark.slow
def test_two_doublings_at_once_are_two_after_another(tar, tmp_path):
    grows = {"network.resolution": 32, "schedule.start_resolution": 8, "schedule.num_images": 8,
             "schedule.images_per_resolution": 8, "schedule.warm_up_images": 0}  # fmt: skip
    small_training(tar, tmp_path, grows).run(NEVER)
    sooner = {"schedule.images_per_resolution": 4, "schedule.num_images": 16}
    small_training(tar, tmp_path, grows | sooner).run(NEVER)
    assert rows(tmp_path)[-1]["resolution"] == 32


@pytest.mark.slow
def test_a_packed_state_is_small_and_goes_on(tar, tmp_path):
    training = small_training(tar, tmp_path / "a")
    training.run(NEVER)
    num_images, packed = pack_state(training.spec)
    assert num_images == 64
    assert len(packed) < 0.6 * (tmp_path / "a" / STATE_NAME).stat().st_size
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / STATE_NAME).write_bytes(packed)
    again = small_training(tar, tmp_path / "b", {"schedule.num_images": 80})
    again.run(NEVER)
    assert again.state.num_images == 80
    for name, tensor in training.state.discriminator_steps.moments.items():
        assert bool((tensor == 0).all()) or bool(
            (again.state.discriminator_steps.moments[name] != 0).any()
        )


@pytest.mark.slow
def test_a_generator_alone_is_gone_on_from_and_waits_for_the_discriminator(tar, tmp_path):
    small_training(tar, tmp_path / "a").run(NEVER)
    weights = tmp_path / "a" / WEIGHTS_NAME
    overrides = {"network.initial": str(weights), "schedule.warm_up_images": 32}
    training = small_training(tar, tmp_path / "b", overrides)
    before = load_file(weights)["synthesis.b8.conv1.weight"]
    for _ in range(4):
        training._step()
        assert torch.equal(training.state.generator["synthesis.b8.conv1.weight"], before)
    training._step()
    assert not torch.equal(training.state.generator["synthesis.b8.conv1.weight"], before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            {"network.resolution": 16},
            r"output: .* is a training of 8 px and the classes blue, red, the job has 16 px and",
        ),
        (
            {"network.channel_max": 8},
            r"output: .* is a training of a network of other widths than the job's; choose another",
        ),
        ({"run.device": "cuda"}, "run.device: found 'cuda', but there is no GPU here"),
    ],
    ids=["another size", "other widths", "no gpu"],
)
def test_a_folder_that_holds_another_training_and_a_missing_gpu_are_told(
    tar, tmp_path, overrides, words
):
    if "run.device" in overrides and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    small_training(tar, tmp_path).run(NEVER)
    with pytest.raises(JobError, match=words):
        small_training(tar, tmp_path, overrides)


def test_initial_weights_of_another_size_are_refused(tar, tmp_path):
    overrides = {"network.initial": "shipped:blood_cells"}
    with pytest.raises(JobError, match=r"network.initial: shipped:blood_cells makes 64 px pictures"
                       r" of 5 classes, the job has 8 px and 2; take other weights"):  # fmt: skip
        small_training(tar, tmp_path, overrides)


def weights_of_others(path, architecture, channels=3, **overrides):
    """A generator of 8 px and two classes, whose file says nothing of how its widths were chosen."""
    network = NetworkSpec(resolution=8, z_dim=16, w_dim=16, mapping_layers=2, channel_base=128,
                          channel_max=16).model_copy(update=overrides)  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    kwargs = generator.kwargs_of(network, 2) | {"img_channels": channels}
    tensors = generator.initial_tensors(kwargs, 8, rng)
    if architecture == "resnet":
        tensors = {name: t for name, t in tensors.items() if "b4.torgb" not in name}
        tensors["synthesis.b8.skip.weight"] = torch.randn(16, 16, 1, 1, generator=rng)
        tensors["synthesis.b8.skip.resample_filter"] = tensors["synthesis.b8.resample_filter"]
    kwargs["synthesis_kwargs"] = {"conv_clamp": 0.5, "architecture": architecture}
    write_safetensors(Checkpoint("stylegan2", "safetensors", tensors, kwargs), path)
    return {"network.initial": str(path)}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["skip", "resnet"])
def test_weights_of_others_are_gone_on_from(tar, tmp_path, architecture):
    overrides = weights_of_others(tmp_path / "theirs.safetensors", architecture)
    schedule = {"schedule.warm_up_images": 0, "schedule.path_length_weight": 2}
    training = small_training(tar, tmp_path, overrides | schedule)
    before = {name: tensor.clone() for name, tensor in training.state.generator.items()}
    training.run(NEVER)
    learned = {name for name in before if generator.is_learned(name)}
    after = load_file(tmp_path / WEIGHTS_NAME)
    assert {name for name in learned if torch.equal(after[name], before[name])} == set()
    again = small_training(tar, tmp_path, overrides | schedule | {"schedule.num_images": 72})
    assert again.state.num_images == 64, "its network is theirs, whatever the job's widths are"


@pytest.mark.parametrize(
    ("channels", "overrides", "words"),
    [
        (1, {}, r"makes pictures of 1 channels; 3 are needed \(RGB\); take other"),
        (
            3,
            {"channel_max": 6},
            "has 6 feature maps at 4 px; the discriminator needs a multiple of 4",
        ),
    ],
)
def test_weights_that_the_discriminator_has_no_place_for_are_refused(
    tar, tmp_path, channels, overrides, words
):
    initial = weights_of_others(tmp_path / "theirs.safetensors", "skip", channels, **overrides)
    with pytest.raises(JobError, match=f"network.initial: .*theirs.safetensors {words}"):
        small_training(tar, tmp_path, initial)


@pytest.mark.slow
def test_weights_of_another_size_are_not_judged(tar, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(small_document(tar, tmp_path)))
    result = CliRunner().invoke(app, ["judge-generator", str(job), "shipped:blood_cells"])
    assert result.exit_code == 2, result.output
    assert "weights: shipped:blood_cells makes 64 px pictures of 5 classes" in result.stderr


@pytest.mark.slow
def test_any_weights_are_scored_as_the_training_scores_its_own(tar, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(small_document(tar, tmp_path)))
    result = CliRunner().invoke(app, ["train-generator", str(job), "--json"])
    assert result.exit_code == 0, result.output
    trained = json.loads(result.stdout)
    assert trained["output"] == f"{tmp_path}/{BEST_NAME}"
    assert trained["kid"] == rows(tmp_path)[-1]["kid"]
    packed = tmp_path / "packed.safetensors"
    result = CliRunner().invoke(app, ["pack-training", str(job), "-o", str(packed), "--json"])
    facts = {"images": rows(tmp_path)[-1]["images"], "bytes": packed.stat().st_size}
    assert json.loads(result.stdout) == {"output": str(packed), **facts}
    sheet = tmp_path / "sheet.png"
    command = ["judge-generator", str(job), str(tmp_path / WEIGHTS_NAME), "--sheet", str(sheet)]
    command += ["--repeats", "1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    with Image.open(sheet) as seen:
        real = np.asarray(seen)[:, 96 : 96 + 8 * 8].astype(float)
    of_blue, of_red = real[:16].mean(axis=(0, 1)), real[16 + 8 :].mean(axis=(0, 1))
    assert of_blue[2] > of_blue[0] + 20
    assert of_red[0] > of_red[2] + 20
    table = [line.split() for line in result.stdout.splitlines()[1:-1]]
    assert [row[0] for row in table] == ["blue", "red", "mean"]
    last = rows(tmp_path)[-1]
    assert float(table[-1][1]) == pytest.approx(last["kid"], rel=1e-3)
    assert [float(x) for x in table[-1][3::2]] == pytest.approx(
        [last["precision"], last["recall"], last["fidelity"]], abs=1e-3
    )
    assert set(table[-1][2::2]) == {"±0.000"}  # one repeat has no spread


@pytest.mark.slow
def test_scores_have_the_spread_of_several_judges(tar, tmp_path):
    training = small_training(tar, tmp_path)
    network = network_of(training.state.ema, training.state.kwargs, Numerics(CPU, torch.float32))
    repeats = [training.score(network, repeat) for repeat in range(3)]
    assert repeats[0] == training.score(network)
    assert repeats[1] == training.score(network, 1)  # a repeat is a function of its number
    kids = [found["blue"].kid for found in repeats]
    assert len(set(kids)) == 3
    found = spread_of(repeats)
    assert list(found) == ["blue", "red", "mean"]
    assert found["blue"].mean.kid == pytest.approx(statistics.mean(kids))
    assert found["blue"].deviation.kid == pytest.approx(statistics.stdev(kids))


def test_a_state_that_is_no_state_is_named(tar, tmp_path):
    (tmp_path / STATE_NAME).write_bytes(b"nothing")
    with pytest.raises(StoreError, match=r"state.safetensors: not a whole training state"):
        small_training(tar, tmp_path)


@pytest.mark.slow
def test_sheets_show_real_pictures_beside_samples_for_each_class(tar, tmp_path):
    small_training(tar, tmp_path).run(NEVER)
    names = sorted(path.name for path in (tmp_path / "sheets").iterdir())
    assert names == [f"{name}-{n:09d}.png" for name in ("blue", "red") for n in (0, 64)]
    with Image.open(tmp_path / "sheets" / names[0]) as sheet:
        assert sheet.size == (2 * 6 * 8 + 8, 6 * 8)
        left = np.asarray(sheet)[:, : 6 * 8]
    assert left[..., 2].mean() > left[..., 0].mean() + 20, "the real blue ones are on the left"


@pytest.mark.slow
def test_everything_is_computed_on_the_given_device(tar, tmp_path, monkeypatch):
    grows = {"network.resolution": 16, "schedule.start_resolution": 8, "schedule.num_images": 32,
             "schedule.images_per_resolution": 16, "schedule.warm_up_images": 0,
             "schedule.path_length_weight": 2}  # fmt: skip
    training = small_training(tar, tmp_path, grows)
    state, training.device = training.state, META
    training.at = Numerics(META, torch.bfloat16)
    for part in ("generator", "ema", "discriminator"):
        setattr(state, part, training._to_device(getattr(state, part)))
    state.judge = dataclasses.replace(state.judge, tensors=training._to_device(state.judge.tensors))
    state.adaptation = Adaptation(0.5)
    with no_numbers(monkeypatch):
        training.run(NEVER)
    assert (state.num_images, state.resolution) == (32, 16)
    learned = (state.generator, state.ema, state.discriminator, state.generator_steps.moments)
    assert {tensor.device for part in learned for tensor in part.values()} == {META}


@pytest.mark.slow
@pytest.mark.parametrize(("num_steps", "target"), [(0, 0.0), (1, 0.6)])
def test_a_step_waits_for_no_number_of_the_device(tar, tmp_path, num_steps, target):
    settings = {"schedule.path_length_weight": 2, "schedule.augment_target": target}
    training = small_training(tar, tmp_path, settings)
    state, at = training.state, Numerics(META, torch.bfloat16)
    for part in ("generator", "ema", "discriminator"):
        moved = {name: tensor.to(META) for name, tensor in getattr(state, part).items()}
        setattr(state, part, moved)
    state.adaptation, state.num_steps, rng = Adaptation(0.5), num_steps, step_rng(1, num_steps)
    batch = draw_batch(training.images, 8, "mirror", rng, META)
    # To read a number of this device is an error.
    losses = Step(state, training.spec.schedule, batch, rng, at).take()
    assert state.num_steps == num_steps + 1
    assert {loss.device for loss in losses.values()} == {META}
    assert len(losses) == (4 if num_steps == 0 else 2), "the penalties were among them"


@pytest.mark.gpu
def test_a_training_goes_on_on_the_other_kind_of_device(tar, tmp_path):
    for num_images, device in ((32, "cpu"), (64, "cuda"), (96, "cpu")):
        overrides = {"schedule.num_images": num_images, "run.device": device,
                     "schedule.precision": "bfloat16"}  # fmt: skip
        training = small_training(tar, tmp_path, overrides)
        training.run(NEVER)
        assert training.state.num_images == num_images


@pytest.mark.slow
@pytest.mark.parametrize("each", [4, 5])
def test_fewer_than_ten_pictures_are_refused_before_anything_is_written(tmp_path, each):
    tar = tar_of_pictures(tmp_path, each=each)
    output = tmp_path / "out"
    if each == 5:
        small_training(tar, output)
        return
    with pytest.raises(
        JobError, match=r"images\.uri: 8 pictures found in .*; at least 10 are needed"
    ):
        small_training(tar, output)
    assert not output.exists()


@pytest.mark.slow
def test_the_least_pictures_give_scores_that_are_numbers(tmp_path):
    tar = tar_of_pictures(tmp_path, each=5)
    scores = small_training(tar, tmp_path / "out", {"schedule.num_images": 8}).run(NEVER)
    assert all(math.isfinite(number) for number in dataclasses.astuple(scores))


@pytest.mark.slow
@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_a_training_that_diverges_says_so_and_keeps_what_it_had(tar, tmp_path, part):
    small_training(tar, tmp_path).run(NEVER)
    kept = (tmp_path / STATE_NAME).read_bytes()
    training = small_training(tar, tmp_path, {"schedule.num_images": 128})
    for tensor in getattr(training.state, part).values():
        tensor.fill_(math.nan)
    with pytest.raises(JobError, match=r"is nan after \d+ pictures: the training has") as caught:
        training.run(NEVER)
    assert "lower schedule.learning_rate" in str(caught.value)
    assert (tmp_path / STATE_NAME).read_bytes() == kept
    assert all(math.isfinite(value) for row in rows(tmp_path) for value in row.values())


@pytest.mark.slow
def test_no_name_of_a_class_leads_out_of_the_folder(tmp_path):
    files = {}
    for name, images in pictures(6).items():
        for index, image in enumerate(images):
            files |= {
                f"{name}{index}.png": encoded(image),
                f"{name}{index}.cls": f"../../{name}".encode(),
            }
    small_training(write_tar(tmp_path / "a.tar", files), tmp_path / "deep/out").run(NEVER)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "deep"]
    sheets = {path.name for path in (tmp_path / "deep/out/sheets").iterdir()}
    assert {"class_0-000000000.png", "class_1-000000000.png"} <= sheets

"""The discriminator beside a generator: kept where its layout is known, else told, never in the way."""

import json
import struct
from functools import cache
from pathlib import Path

import pytest
import torch
from discriminators import RATE, as_rosinality, nvidia, persistent
from layouts import as_rosinality as generator_as_rosinality
from persistent import Stranger, load_network, pickled, stand_in_modules
from safetensors.torch import load_file, save_file

from factory.checkpoint import read_checkpoint, write_safetensors
from factory.errors import WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"
REPOSITORY = Path(__file__).parents[3]
OURS = load_file(PARITY / "sg2ada_u64_psi1.safetensors")


def plain(tensors):
    return {name: one for name, one in tensors.items() if not name.endswith("resample_filter")}


def same(found, wanted):
    return found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


@cache
def generator():
    return load_network(PARITY / "sg2ada_u64_scrubbed_p4.pkl")


def snapshot(folder, discriminator):
    """A pickle of NVIDIA's with this network beside the generator."""
    path = folder / "network.pkl"
    path.write_bytes(pickled(generator(), D=discriminator))
    return path


def training_file(folder, state):
    """A file of rosinality's with this state dict as `d`."""
    path = folder / "550000.pt"
    g_ema = generator_as_rosinality(OURS)
    torch.save({"g": g_ema, "d": state, "g_ema": g_ema, "d_optim": {"state": {}}}, path)
    return path


def read(path):
    """The checkpoint of a file, whose generator must be read as if there were no discriminator."""
    found = read_checkpoint(path, with_discriminator=True)
    alone = read_checkpoint(path)
    assert alone.discriminator is None
    assert same(found.tensors, alone.tensors)
    assert found.kwargs == alone.kwargs
    return found


def unfit(path):
    checkpoint = read_checkpoint(path, with_discriminator=True)
    if checkpoint.layout != "tensorflow-pkl":
        weight = "synthesis.b8.conv0.weight"
        assert torch.allclose(checkpoint.tensors[weight], OURS[weight])
    found = checkpoint.discriminator
    assert found.tensors == {}
    assert "\n" not in found.unfit
    return found.unfit


@pytest.mark.parametrize("num_classes", [0, 5])
def test_a_pickle_keeps_its_discriminator_with_its_settings(num_classes, tmp_path):
    tensors = nvidia(num_classes=num_classes)
    found = read(snapshot(tmp_path, persistent(tensors, clamp=256))).discriminator
    assert same(found.tensors, plain(tensors))
    assert found.kwargs == {
        "img_resolution": 64,
        "img_channels": 3,
        "c_dim": num_classes,
        "conv_clamp": 256,
        "lr_multiplier": RATE,
        "shortcut": "filtered",
    }


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_rosinality_keeps_its_discriminator(prefix, tmp_path):
    tensors = nvidia()
    state = {prefix + name: one for name, one in as_rosinality(tensors).items()}
    found = read(training_file(tmp_path, state)).discriminator
    assert same(found.tensors, plain(tensors))
    assert found.kwargs["conv_clamp"] is None
    assert found.kwargs["img_resolution"] == 64


def test_tensors_of_both_networks_in_one_safetensors_file_are_told_apart(tmp_path):
    path, tensors = tmp_path / "both.safetensors", nvidia()
    both = {f"G_ema.{n}": t for n, t in OURS.items()} | {f"D.{n}": t for n, t in tensors.items()}
    save_file({name: one.contiguous() for name, one in both.items()}, path)
    assert same(read(path).discriminator.tensors, plain(tensors))


def test_a_file_without_one_has_none(tmp_path):
    assert read(PARITY / "sg2ada_u64_scrubbed_p4.pkl").discriminator is None
    assert read(PARITY / "sg2ada_u64_psi1.safetensors").discriminator is None
    path = tmp_path / "generator.pt"
    torch.save({"g_ema": generator_as_rosinality(OURS)}, path)
    assert read(path).discriminator is None


def test_a_converted_file_gives_it_back_and_equal_files_are_equal_bytes(tmp_path):
    first = read(training_file(tmp_path, as_rosinality(nvidia())))
    write_safetensors(first, tmp_path / "a.safetensors")
    again = read(tmp_path / "a.safetensors")
    assert same(again.discriminator.tensors, first.discriminator.tensors)
    assert again.discriminator.kwargs == first.discriminator.kwargs
    assert same(again.tensors, first.tensors)
    write_safetensors(again, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    names = load_file(tmp_path / "a.safetensors").keys()
    assert {n for n in names if n not in first.tensors} == {
        f"discriminator.{n}" for n in first.discriminator.tensors
    }


def test_settings_of_a_job_leave_the_discriminator_of_a_converted_file_alone(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(read(training_file(tmp_path, as_rosinality(nvidia()))), path)
    found = read_checkpoint(path, settings={"lr_multiplier": 0.02}, with_discriminator=True)
    assert found.kwargs["mapping_kwargs"]["lr_multiplier"] == 0.02
    assert found.discriminator.tensors


def with_change(name, change):
    tensors = nvidia()
    tensors[name] = change(tensors[name])
    return tensors


def without(name):
    return {key: one for key, one in nvidia().items() if key != name}


ODD = {
    "has shape (12, 8, 5, 5) where (12, 8, 3, 3) fits": with_change(
        "b64.conv1.weight", lambda one: torch.zeros(12, 8, 5, 5)
    ),
    "without the tensor 'b8.skip.weight'": without("b8.skip.weight"),
    "with the tensor 'b2.conv0.weight'": nvidia() | {"b2.conv0.weight": torch.zeros(2)},
    "'b4.fc.weight' has shape": with_change("b4.fc.weight", lambda one: one[0, 0].reshape(())),
    "holds NaN": with_change("b16.conv0.weight", lambda one: one.clone().fill_(torch.nan)),
    "holds an infinite number": with_change("b4.out.bias", lambda one: one / 0),
    "is not [1, 3, 3, 1]": with_change("b16.conv1.resample_filter", lambda one: one * 4),
    "'b4.conv.weight' has shape": with_change("b4.conv.weight", lambda one: one[:, :3]),
    "with tensors that are no floats": {
        n: one.to(torch.int32) for n, one in plain(nvidia()).items()
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("reason", ODD)
def test_an_odd_one_is_told_in_a_line_and_the_generator_is_read(reason, tmp_path):
    assert reason in unfit(snapshot(tmp_path, persistent(ODD[reason])))


@pytest.mark.slow
def test_one_of_another_architecture_is_named(tmp_path):
    network = persistent(nvidia())
    network.modules["b32"].attributes["architecture"] = "skip"
    assert "of the architecture 'skip'" in unfit(snapshot(tmp_path, network))


@pytest.mark.slow
def test_layers_that_differ_in_their_limit_are_told(tmp_path):
    network = persistent(nvidia(), clamp=256)
    network.child("b32.conv0").attributes["conv_clamp"] = 3.0
    assert "differ in conv_clamp" in unfit(snapshot(tmp_path, network))
    for limit in (float("nan"), float("inf"), -1.0, "256", [256]):
        assert unfit(snapshot(tmp_path, persistent(nvidia(), clamp=limit)))


def test_one_that_is_no_network_of_ours_or_hides_a_stranger_is_told(tmp_path):
    with stand_in_modules():
        network = persistent(nvidia())
        network.modules["b32"].modules["conv0"] = Stranger()
        assert "not interpreted" in unfit(snapshot(tmp_path, network))
    state = {"blocks.0.weight": torch.zeros(3), "head.weight": torch.zeros(4)}
    assert unfit(training_file(tmp_path, state)) == "its layout is not known"


def test_a_rosinality_state_that_is_not_whole_is_told(tmp_path):
    state = as_rosinality(nvidia())
    del state["convs.2.conv2.2.bias"]
    assert "'convs.2.conv2.2.bias' is missing" in unfit(training_file(tmp_path, state))
    state = as_rosinality(nvidia()) | {"convs.9.weight": torch.zeros(1)}
    assert "'convs.9.weight' is left over" in unfit(training_file(tmp_path, state))


def test_code_in_its_place_is_refused_as_anywhere_in_a_file(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("executed",))

    with pytest.raises(WeightsError, match=r"builtins\.print"):
        read_checkpoint(snapshot(tmp_path, Hostile()), with_discriminator=True)


def test_tensorflow_s_is_told_as_not_read():
    assert "TensorFlow" in unfit(PARITY / "tf_sg2_u32.pkl")


@pytest.mark.parametrize(
    "settings", ["no JSON", "[]", "{}", '{"img_resolution": 1e999}', "[" * 9999]
)
def test_settings_of_a_converted_one_that_are_damaged_leave_the_generator_usable(
    settings, tmp_path
):
    path = tmp_path / "a.safetensors"
    write_safetensors(read(training_file(tmp_path, as_rosinality(nvidia()))), path)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["discriminator"] = settings
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    assert unfit(path)


def test_the_state_of_a_training_of_ours_is_a_generator_with_its_discriminator():
    path = REPOSITORY / "jobs" / "train" / "blood_cells_state.safetensors"
    found = read(path)
    assert (found.family, found.kwargs["c_dim"]) == ("stylegan2", 5)
    assert found.class_names[0] == "basophil"
    assert found.discriminator.kwargs["shortcut"] == "pooled"
    assert found.discriminator.tensors["embed.weight"].shape == (128, 5)
    shipped = load_file(REPOSITORY / "factory" / "generate" / "blood_cells_64.safetensors")
    assert found.tensors.keys() == shipped.keys()
    name = "synthesis.b8.conv0.weight"
    assert torch.equal(found.tensors[name], load_file(path)[f"mean/{name}"].float())


def test_a_training_that_has_not_grown_or_is_damaged_is_refused(tmp_path):
    tensors = {f"mean/{name}": one for name, one in OURS.items()}
    path = tmp_path / "state.safetensors"
    facts = {"kwargs": {"img_resolution": 64}, "resolution": 16}
    save_file(tensors, path, {"training": json.dumps(facts)})
    with pytest.raises(WeightsError, match="a training at 16 px of a generator of 64 px"):
        read_checkpoint(path)
    for damaged in ("", "[]", "{}"):
        save_file(tensors, path, {"training": damaged})
        with pytest.raises(WeightsError, match="a training whose facts are no JSON object"):
            read_checkpoint(path)

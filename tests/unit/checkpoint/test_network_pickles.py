"""Variants of NVIDIA's and StyleGAN-XL's network pickles, and networks that only look like them."""

import pickle
from pathlib import Path

import assemble as a
import numpy as np
import pytest
import torch
from persistent import Persistent, Stranger, load_network, pickled, stand_in_modules

from factory.checkpoint import read_checkpoint
from factory.checkpoint.pickles.machine import Machine, Rules
from factory.checkpoint.pickles.plain import plain
from factory.checkpoint.pickles.source import Budget, Stream
from factory.errors import WeightsError
from factory.generate.numerics import Numerics
from factory.generate.stylegan3 import network as stylegan3_network
from factory.generate.weights.find import TensorBag

pytestmark = pytest.mark.slow

PARITY = Path(__file__).parents[2] / "golden" / "parity"
CPU = Numerics(torch.device("cpu"), torch.float32)


@pytest.fixture
def stylegan2() -> Persistent:
    return load_network(PARITY / "sg2ada_u64_scrubbed_p4.pkl")


@pytest.fixture
def stylegan3() -> Persistent:
    return load_network(PARITY / "sg3t_64_scrubbed_p4.pkl")


def read(network, tmp_path, **options):
    file = tmp_path / "network.pkl"
    file.write_bytes(pickled(network, **options))
    return read_checkpoint(file)


def layers_of(network: Persistent) -> list[Persistent]:
    blocks = network.child("synthesis").modules.values()
    return [module for block in blocks for name, module in block.modules.items()]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_network_reads_the_same_from_every_protocol(stylegan2, protocol, tmp_path):
    ours = read(stylegan2, tmp_path, protocol=protocol)
    wanted = read_checkpoint(PARITY / "sg2ada_u64_scrubbed_p4.pkl")
    assert ours.kwargs == wanted.kwargs
    assert all(torch.equal(ours.tensors[name], wanted.tensors[name]) for name in wanted.tensors)


def test_flat_settings_are_those_of_the_stylegan3_repository(stylegan2, tmp_path):
    stylegan2.attributes["_init_kwargs"] = {
        "z_dim": 64, "c_dim": 0, "w_dim": 64, "img_resolution": 64, "img_channels": 3,
        "mapping_kwargs": {}, "channel_base": 1024, "channel_max": 48, "fused_modconv_default": True,
    }  # fmt: skip
    for layer in layers_of(stylegan2):
        layer.attributes["conv_clamp"] = 256
    for name, block in stylegan2.child("synthesis").modules.items():
        block.attributes["use_fp16"] = name != "b4"
    checkpoint = read(stylegan2, tmp_path)
    assert checkpoint.layout == "nvidia-pkl (StyleGAN3 repository)"
    assert checkpoint.kwargs["synthesis_kwargs"] == {
        "channel_base": 1024, "channel_max": 48, "conv_clamp": 256, "architecture": "skip",
        "num_fp16_res": 4,
    }  # fmt: skip


def test_a_network_of_a_changed_program_is_refused(stylegan2, tmp_path):
    synthesis = stylegan2.child("synthesis")
    clamp = synthesis.child("b8.conv0").attributes
    clamp["conv_clamp"] = 3.0
    with pytest.raises(WeightsError, match="conv_clamp differs between layers"):
        read(stylegan2, tmp_path)
    clamp["conv_clamp"] = None
    clamp["activation"] = "relu"
    with pytest.raises(WeightsError, match=r"synthesis\.b8\.conv0 has activation 'relu'"):
        read(stylegan2, tmp_path)
    clamp["activation"] = "lrelu"
    synthesis.child("b8").buffers["extra"] = torch.ones(2)
    with pytest.raises(WeightsError, match=r"'synthesis\.b8\.extra' does not belong"):
        read(stylegan2, tmp_path)
    del synthesis.child("b8").buffers["extra"]
    bias = synthesis.child("b8.conv0").buffers.pop("bias")
    with pytest.raises(WeightsError, match=r"'synthesis\.b8\.conv0\.bias' is missing"):
        read(stylegan2, tmp_path)
    synthesis.child("b8.conv0").buffers["bias"] = bias
    stylegan2.attributes["w_dim"] = 32
    with pytest.raises(WeightsError, match=r"has shape .* where .* fits"):
        read(stylegan2, tmp_path)


@pytest.mark.parametrize("value", [None, "64", -1, 2**40, 1.5, True, [64]])
def test_a_size_that_is_no_size_is_refused(stylegan2, value, tmp_path):
    stylegan2.attributes["img_resolution"] = value
    with pytest.raises(WeightsError, match="setting img_resolution is"):
        read(stylegan2, tmp_path)


def test_the_generator_in_training_is_used_if_there_is_no_other_and_that_is_said(
    stylegan2, tmp_path
):
    file = tmp_path / "network.pkl"
    file.write_bytes(pickled(None, G=stylegan2))  # type: ignore[arg-type]
    assert any("no averaged generator" in line for line in read_checkpoint(file).assumptions)


def test_objects_of_other_libraries_beside_the_generator_do_no_harm(stylegan2, tmp_path):
    checkpoint = read(stylegan2, tmp_path, D=Stranger(), augment_pipe=None)
    assert checkpoint.family == "stylegan2"
    with pytest.raises(WeightsError, match=r"'timm\.models\.vit\.Stranger' at byte \d+"):
        read_checkpoint(tmp_path / "network.pkl", strict=True)


def as_stylegan_xl(network: Persistent, classes: int = 5) -> Persistent:
    """The network as a super-resolution file of StyleGAN-XL: a skipped number, a class embedding."""
    synthesis, mapping = network.child("synthesis"), network.child("mapping")
    renamed = {}
    for number, name in enumerate(synthesis.attributes["layer_names"]):
        _, _, rest = name.partition("_")
        renamed[name] = f"L{number + (number >= 5)}_{rest}"
    synthesis.attributes["layer_names"] = list(renamed.values())
    synthesis.modules = {renamed.get(name, name): part for name, part in synthesis.modules.items()}
    mapping.modules["embed"] = torch.nn.Embedding(7, 6)
    projection = Persistent("FullyConnectedLayer", activation="lrelu", bias_gain=1)
    projection.buffers = {"weight": torch.ones(48, 6), "bias": torch.ones(48)}
    mapping.modules["embed_proj"] = projection
    mapping.child("fc0").buffers["weight"] = torch.ones(48, 96)
    mapping.buffers["w_avg"] = torch.ones(classes, 48)
    mapping.attributes |= {"c_dim": classes, "num_ws": 10, "_init_kwargs": {"num_ws": 16}}
    network.class_name = "SuperresGenerator"
    network.attributes["c_dim"] = classes
    network.attributes["_init_kwargs"] = {
        "img_resolution": 64, "path_stem": "/no/such/stem.pkl", "head_layers": 4, "up_factor": 2,
    }  # fmt: skip
    return network


def test_a_stylegan_xl_is_read_from_its_state_in_the_order_of_its_layer_names(stylegan3, tmp_path):
    network = as_stylegan_xl(stylegan3)
    checkpoint = read(network, tmp_path, D=Stranger())
    kwargs = checkpoint.kwargs
    assert (checkpoint.family, checkpoint.layout) == ("stylegan_xl", "stylegan-xl-pkl")
    assert kwargs["layer_names"] == network.child("synthesis").attributes["layer_names"]
    assert "L6_84_13" in kwargs["layer_names"]
    assert (kwargs["num_ws"], kwargs["c_dim"], kwargs["z_dim"]) == (10, 5, 48)
    assert kwargs["layers"]["L6_84_13"]["init_kwargs"]["in_channels"] == 20
    assert checkpoint.tensors["mapping.embed.weight"].shape == (7, 6)
    assert "no/such" not in str(kwargs)
    built = stylegan3_network.Network(TensorBag(checkpoint.tensors, source=""), kwargs, CPU)
    assert built.resolution == 64


def test_a_stylegan3_of_a_changed_program_is_refused(stylegan3, tmp_path):
    layer = stylegan3.child("synthesis.L3_52_24")
    layer.attributes["in_sampling_rate"] = "16"
    with pytest.raises(WeightsError, match=r"layer 'L3_52_24' has in_sampling_rate '16'"):
        read(stylegan3, tmp_path)
    layer.attributes["in_sampling_rate"] = 16
    layer.attributes["out_channels"] = 25
    with pytest.raises(WeightsError, match=r"has shape .* where .* fits"):
        read(stylegan3, tmp_path)
    stylegan3.child("synthesis").attributes["layer_names"].pop()
    with pytest.raises(WeightsError, match="layer_names that are not the layers"):
        read(stylegan3, tmp_path)


def test_arrays_that_dill_wrote_are_read():
    array = np.arange(6, dtype=np.int64).reshape(2, 3)
    dtype = a.call(a.name("numpy", "dtype"), a.text("i8"), b"\x89", b"\x88")
    dtype += a.tuple_of(a.number(3), a.text("<"), b"N", b"N", b"N", a.number(-1), a.number(-1),
                        a.number(0)) + b"b"  # fmt: skip
    made_of = a.tuple_of(a.name("numpy", "ndarray"), a.tuple_of(a.number(0)), a.blob(b"b"))
    state = a.tuple_of(a.number(1), a.tuple_of(a.number(2), a.number(3)), dtype, b"\x89",
                       a.blob(array.tobytes()))  # fmt: skip
    reconstruct = a.name("numpy.core.multiarray", "_reconstruct")
    data = a.whole(a.call(a.name("dill._dill", "_create_array"), reconstruct, made_of, state, b"N"))
    budget = Budget("x", 1000)
    found, _ = Machine(Stream(memoryview(data), "x"), budget, Rules()).run()
    assert plain(found, budget, "x") == array.tolist()


def test_a_parameter_of_torch_is_a_tensor_like_any_other(stylegan3, tmp_path):
    synthesis = stylegan3.child("synthesis.L3_52_24")
    weight = synthesis.buffers.pop("weight")
    synthesis.parameters["weight"] = torch.nn.Parameter(weight)
    found = read(stylegan3, tmp_path).tensors["synthesis.L3_52_24.weight"]
    assert torch.equal(found, weight)
    assert not found.requires_grad


def test_a_snapshot_that_torch_saved_is_read_like_the_pickle(stylegan2, tmp_path):
    with stand_in_modules():
        torch.save({"G": stylegan2, "D": None, "G_ema": stylegan2}, tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    wanted = read_checkpoint(PARITY / "sg2ada_u64_scrubbed_p4.pkl")
    assert checkpoint.kwargs == wanted.kwargs
    assert all(
        torch.equal(checkpoint.tensors[name], wanted.tensors[name]) for name in wanted.tensors
    )


@pytest.mark.parametrize("count", [1, 3])
def test_a_tuple_of_networks_has_the_averaged_one_last(stylegan2, count, tmp_path):
    others = [load_network(PARITY / "sg3t_64_scrubbed_p4.pkl") for _ in range(count - 1)]
    with stand_in_modules():
        (tmp_path / "x.pkl").write_bytes(pickle.dumps((*others, stylegan2), protocol=4))
    checkpoint = read_checkpoint(tmp_path / "x.pkl")
    assert checkpoint.family == "stylegan2"
    said = "the last of 3 networks" if count == 3 else "does not say whether it is averaged"
    assert any(said in line for line in checkpoint.assumptions)


def test_settings_that_a_network_states_itself_cannot_be_changed(stylegan2, tmp_path):
    file = tmp_path / "network.pkl"
    file.write_bytes(pickled(stylegan2))
    assert read_checkpoint(file, settings={"lr_multiplier": 0.01}).assumptions == []
    with pytest.raises(WeightsError, match=r"lr_multiplier 0\.02 in the settings, 0\.01 in the"):
        read_checkpoint(file, settings={"lr_multiplier": 0.02})

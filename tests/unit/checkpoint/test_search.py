"""The generator is found in whatever a training saved, and the averaged one is the one that is meant."""

import collections
import datetime
import pathlib
import pickle
import random
import types
import uuid
from pathlib import Path

import assemble as a
import numpy as np
import pytest
import torch
from layouts import under
from persistent import importable
from safetensors.torch import load_file, save_file

from factory.checkpoint import list_tensors, read_checkpoint
from factory.errors import UnknownGeneratorError, WeightsError

PARITY = Path(__file__).parents[2] / "golden" / "parity"
DCGAN = load_file(PARITY / "dcgan_64.safetensors")
STYLEGAN2 = load_file(PARITY / "sg2ada_u32_orig_clamp.safetensors")
TRAINED = {name: tensor + 1 for name, tensor in STYLEGAN2.items()}
DISCRIMINATOR = {"b4.conv.weight": torch.zeros(4, 4, 3, 3), "b4.fc.weight": torch.zeros(4, 64)}


def is_averaged(checkpoint) -> bool:
    name = "synthesis.b32.torgb.bias"
    assert checkpoint.family == "stylegan2"
    return torch.equal(checkpoint.tensors[name], STYLEGAN2[name])


def read(found: object, tmp_path: Path):
    torch.save(found, tmp_path / "x.ckpt")
    return read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("generator", "discriminator"),
    [("generator.", "discriminator."), ("G.", "D."), ("model.netG.", "model.netD."),
     ("gen._orig_mod.", "dis._orig_mod."), ("module.generator.", "module.discriminator.")],
)  # fmt: skip
def test_a_generator_beside_its_discriminator_in_one_state_dict_is_found(
    generator, discriminator, tmp_path
):
    state = under(generator, STYLEGAN2) | under(discriminator, DISCRIMINATOR)
    assert is_averaged(read({"state_dict": state, "epoch": 3}, tmp_path))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "x")
    assert is_averaged(read_checkpoint(tmp_path / "x"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("averaged", "trained"),
    [("generator_ema.", "generator."), ("ema.module.", "generator."), ("G_ema.", "G."),
     ("ema_generator.ema_model.", "ema_generator.online_model."), ("Gs.", "G."),
     ("generator.ema.", "generator.")],
)  # fmt: skip
def test_averaged_weights_beside_those_in_training_are_the_ones_that_are_meant(
    averaged, trained, tmp_path
):
    state = under(trained, TRAINED) | under(averaged, STYLEGAN2)
    checkpoint = read({"state_dict": state}, tmp_path)
    assert is_averaged(checkpoint)
    assert checkpoint.assumptions[0].startswith("mapping lr_multiplier")
    assert any("the averaged weights" in note for note in checkpoint.notes)


@pytest.mark.slow
@pytest.mark.parametrize(
    "found",
    [
        {"generator": TRAINED, "ema": {"shadow": STYLEGAN2, "decay": 0.999}},
        {"models": {"G": TRAINED}, "averages": {"G_ema": STYLEGAN2}},
        {"current_model_state": TRAINED, "averaging_state": {"module": STYLEGAN2}},
        {"state": [TRAINED, {"ema": STYLEGAN2}]},
    ],
    ids=["shadow", "two dicts", "averaging callback", "list"],
)
def test_averaged_weights_are_found_wherever_a_program_keeps_them(found, tmp_path):
    assert is_averaged(read(found, tmp_path))


def test_weights_in_training_alone_are_used_and_that_is_said(tmp_path):
    checkpoint = read({"state_dict": under("generator.", TRAINED)}, tmp_path)
    assert not is_averaged(checkpoint)
    assert "no averaged generator" in checkpoint.assumptions[0]


def test_averages_that_have_no_names_are_warned_of(tmp_path):
    ema = {"decay": 0.99, "shadow_params": list(STYLEGAN2.values())}
    checkpoint = read({"generator": TRAINED, "ema": ema}, tmp_path)
    assert not is_averaged(checkpoint)
    assert "'ema.shadow_params' as a list without names" in checkpoint.warnings[0]


def test_several_generators_are_refused_with_their_names(tmp_path):
    state = under("G_A2B.", STYLEGAN2) | under("G_B2A.", TRAINED)
    with pytest.raises(WeightsError, match=r"2 generators \('G_A2B', 'G_B2A'\).*torch\.save\("):
        read(state, tmp_path)


def test_a_network_that_is_registered_twice_is_one_network(tmp_path):
    state = under("netA.", STYLEGAN2) | under("model.inner.", STYLEGAN2)
    assert is_averaged(read(state, tmp_path))


def test_a_dcgan_is_found_beside_its_discriminator(tmp_path):
    shapes = {"main.0": (64, 3, 4, 4), "main.2": (128, 64, 4, 4), "main.5": (1, 128, 4, 4)}
    discriminator = {f"{name}.weight": torch.zeros(shape) for name, shape in shapes.items()}
    state = under("generator.", DCGAN) | under("discriminator.", discriminator)
    checkpoint = read(state, tmp_path)
    assert checkpoint.family == "dcgan"
    assert torch.equal(checkpoint.tensors["main.0.weight"], DCGAN["main.0.weight"])
    with pytest.raises(UnknownGeneratorError):
        read(discriminator, tmp_path)


_BESIDE = {
    "namespace": types.SimpleNamespace(lr=1, steps=[1, 2]),
    "deque": collections.deque([1.5], maxlen=5),
    "counter": collections.Counter("abca"),
    "defaultdict": collections.defaultdict(list, {"loss": [0.5]}),
    "time": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "path": pathlib.PurePosixPath("/runs/1"),
    "id": uuid.UUID(int=7),
    "random": random.Random(0),
    "numpy's state": np.random.RandomState(0),
    "numpy's generator": np.random.default_rng(0),
    "slice": slice(1, 2),
    "complex": 1j,
    "uint16": torch.zeros(3, dtype=torch.uint16),
    "float8": torch.zeros(3).to(torch.float8_e4m3fn),
    "complex tensor": torch.zeros(3, dtype=torch.complex64),
    "sparse": torch.eye(3).to_sparse(),
    "type": torch.float16,
    "optimizer": torch.optim.Adam([torch.zeros(1)]).state_dict(),
}


@pytest.mark.slow
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("beside", _BESIDE.values(), ids=_BESIDE)
def test_inert_things_beside_the_generator_do_no_harm(beside, protocol, tmp_path):
    torch.save({"G_ema": STYLEGAN2, "beside": beside}, tmp_path / "x", pickle_protocol=protocol)
    assert is_averaged(read_checkpoint(tmp_path / "x"))


def test_what_lightning_saves_beside_the_generator_does_no_harm(tmp_path):
    callback = a.name("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    parsed = a.name("pytorch_lightning.utilities.parsing", "AttributeDict") + b")\x81"
    tensor = a.tensor(a.storage_id("0", 4) + b"Q", a.number(0), a.tuple_of(a.number(4)),
                      a.tuple_of(a.number(1)))  # fmt: skip
    body = a.mapping(state_dict=a.mapping(weight=tensor), hyper_parameters=parsed,
                     callbacks=b"}(" + callback + b"}u")  # fmt: skip
    (tmp_path / "x").write_bytes(a.torch_zip(body, {"0": b"\0" * 16}))
    with pytest.raises(UnknownGeneratorError, match="no known family"):  # all else was read
        read_checkpoint(tmp_path / "x")


@pytest.mark.parametrize("name", ["__main__.Config", "my_gan.train.Options", "src.ema.EMA"])
def test_a_class_of_ones_own_is_refused_calmly(name, tmp_path):
    module, _, attribute = name.rpartition(".")
    body = a.mapping(cfg=a.name(module, attribute) + b")\x81", G_ema=b"}")
    (tmp_path / "x").write_bytes(a.torch_zip(body))
    with pytest.raises(WeightsError) as caught:
        read_checkpoint(tmp_path / "x")
    message = str(caught.value)
    assert f"the global '{name}' at byte" in message
    assert "a class of the program that wrote the file" in message
    assert message.endswith("save the generator alone: torch.save(generator.state_dict(), "
                            "'generator.pt')")  # fmt: skip
    assert "trust" not in message


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.load", "numpy.fromfile"])
def test_what_would_act_is_not_spoken_of_calmly(name, tmp_path):
    module, _, attribute = name.rpartition(".")
    (tmp_path / "x").write_bytes(a.torch_zip(a.mapping(cfg=a.name(module, attribute))))
    with pytest.raises(WeightsError, match="do not load it with any other program"):
        read_checkpoint(tmp_path / "x")


def test_a_generator_of_a_type_that_no_network_here_computes_with_is_refused_by_it(tmp_path):
    weights = dict(STYLEGAN2)
    weights["synthesis.b4.const"] = weights["synthesis.b4.const"].to(torch.complex64)
    with pytest.raises(WeightsError, match=r"of type complex64; .*generator\.float\(\)"):
        read(weights, tmp_path)


@pytest.mark.parametrize("protocol", [0, 1])
def test_a_pickle_of_text_is_refused_calmly(protocol, tmp_path):
    import pickle

    network = types.SimpleNamespace(training=True)
    (tmp_path / "x").write_bytes(pickle.dumps({"G_ema": network}, protocol=protocol))
    with pytest.raises(WeightsError, match=r"at byte \d+; .*protocol 0 and 1; .*pickle\.dump"):
        read_checkpoint(tmp_path / "x")


def test_plain_dicts_of_arrays_are_read_as_state_dicts(tmp_path):
    import pickle

    arrays = {name: tensor.numpy() for name, tensor in STYLEGAN2.items()}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"G_ema": arrays}, protocol=4))
    assert is_averaged(read_checkpoint(tmp_path / "x.pkl"))


@pytest.mark.slow
@pytest.mark.parametrize("holder", [tuple, list])
def test_state_dicts_in_a_row_have_the_averaged_one_last_and_that_is_said(holder, tmp_path):
    checkpoint = read(holder([TRAINED, DISCRIMINATOR, STYLEGAN2]), tmp_path)
    assert is_averaged(checkpoint)
    assert any("(G, D, G_ema)" in line for line in checkpoint.assumptions)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps((TRAINED, DISCRIMINATOR, STYLEGAN2), protocol=4))
    assert is_averaged(read_checkpoint(tmp_path / "x.pkl"))
    alone = read(holder([STYLEGAN2, DISCRIMINATOR]), tmp_path)
    assert is_averaged(alone)
    assert not any("(G, D, G_ema)" in line for line in alone.assumptions)


def test_a_row_inside_a_dict_does_not_decide_between_generators_elsewhere(tmp_path):
    with pytest.raises(WeightsError, match="2 generators"):
        read({"a": [STYLEGAN2], "b": [TRAINED]}, tmp_path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_of_every_protocol_are_read(protocol, tmp_path):
    arrays = {name: tensor.numpy() for name, tensor in STYLEGAN2.items()}
    turned = "synthesis.b4.conv1.affine.weight"
    arrays[turned] = np.asfortranarray(arrays[turned])
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(arrays, protocol=protocol))
    checkpoint = read_checkpoint(tmp_path / "x.pkl")
    assert is_averaged(checkpoint)
    assert torch.equal(checkpoint.tensors[turned], STYLEGAN2[turned])


@pytest.mark.parametrize(
    "arguments",
    [
        (a.blob(bytes(16)), a.text("f4"), a.tuple_of(a.number(4)), a.text("C")),
        (a.blob(bytes(12)), None, a.tuple_of(a.number(4)), a.text("C")),
        (a.blob(bytes(16)), None, a.tuple_of(a.number(4)), a.text("K")),
        (a.blob(bytes(16)), None, a.tuple_of(a.number(-4)), a.text("C")),
    ],
    ids=["a type that is text", "too few bytes", "an unknown order", "a negative side"],
)
def test_an_array_of_protocol_five_whose_parts_do_not_fit_is_refused(arguments, tmp_path):
    dtype = a.call(a.name("numpy", "dtype"), a.text("f4"), b"\x89", b"\x88")
    given = [dtype if argument is None else argument for argument in arguments]
    made = a.call(a.name("numpy._core.numeric", "_frombuffer"), *given)
    (tmp_path / "x.pkl").write_bytes(a.whole(a.mapping(w=made), protocol=4))
    with pytest.raises(WeightsError, match="NumPy array"):
        read_checkpoint(tmp_path / "x.pkl")


@pytest.mark.parametrize("protocol", [0, 1])
def test_text_pickles_are_refused_calmly_with_what_to_do(protocol, tmp_path):
    for found in (STYLEGAN2, {"g_ema": STYLEGAN2}, (TRAINED, DISCRIMINATOR, STYLEGAN2)):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(found, protocol=protocol))
        torch.save(found, tmp_path / "x.pt", pickle_protocol=protocol)
        for name in ("x.pkl", "x.pt"):
            with pytest.raises(WeightsError) as caught:
                read_checkpoint(tmp_path / name)
            assert "pickles of protocol 2 to 5 are read" in str(caught.value)
            assert "write your own file again with torch.save" in str(caught.value)
            assert "trust" not in str(caught.value)


class Network:
    """What TensorFlow's programs pickle."""

    def __init__(self, variables, **arguments):
        self.version, self.name, self.components = 2, "G", {}
        self.static_kwargs, self.variables = arguments, list(variables.items())


def test_a_tensorflow_pggan_is_listed_and_the_way_to_read_it_is_told(tmp_path):
    Network.__module__ = "tfutil"
    variables = {"lod": np.float32(0), "4x4/Dense/weight": np.ones((54, 256), np.float32),
                 "4x4/Dense/bias": np.ones(16, np.float32)}  # fmt: skip
    network = Network(variables, label_size=6, latent_size=48)
    with importable("tfutil", Network=Network):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps((network, network, network), protocol=4))
    with pytest.raises(UnknownGeneratorError) as caught:
        read_checkpoint(tmp_path / "x.pkl")
    assert "convert a StyleGAN or PGGAN with genforce's program" in str(caught.value)
    assert "generator.settings: {label_size: N}" in str(caught.value)
    assert [fact.name for fact in list_tensors(tmp_path / "x.pkl")] == list(variables)

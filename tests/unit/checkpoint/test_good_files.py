"""Every format of a good file reads, and the networks built from it make the reference images."""

import argparse
import json
import pickle
import struct
import zipfile
from pathlib import Path

import assemble as a
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.checkpoint import Checkpoint, read_checkpoint, read_tensors
from factory.errors import WeightsError
from factory.generate.biggan import ajbrock_network as biggan_ajbrock_network
from factory.generate.biggan import deep_hf_network as biggan_deep_hf
from factory.generate.early import dcgan_network, pggan, stylegan1_network
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.stylegan3 import network as stylegan3_network
from factory.generate.weights.find import TensorBag

PARITY = Path(__file__).parents[2] / "golden" / "parity"
CPU = Numerics(torch.device("cpu"), torch.float32)
TOLERANCE = 1e-4


def read(name: str, **options) -> Checkpoint:
    return read_checkpoint(PARITY / name, **options)


def arrays_of(case: str) -> dict[str, np.ndarray]:
    with np.load(PARITY / f"{case}.npz") as arrays:
        return dict(arrays)


def stylegan2_images(checkpoint: Checkpoint, case: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Our images and the reference's; styles come from z wherever the case has one."""
    arrays, facts = arrays_of(case), json.loads((PARITY / f"{case}.json").read_text())
    tensors = dict(checkpoint.tensors)
    if "latent_avg" in arrays:  # rosinality's centre is the user's choice, made anew in each run
        tensors["mapping.w_avg"] = torch.from_numpy(arrays["latent_avg"])
    network = Network(TensorBag(tensors, source=case), checkpoint.kwargs, CPU)
    psi = facts.get("truncation_psi", facts.get("truncation", 1.0))
    noise = {} if facts.get("noise_mode") == "none" else network.const_noise()
    labels = torch.from_numpy(arrays["c"]).float() if "c" in arrays else None
    with torch.no_grad():
        if "z" in arrays:
            z = torch.from_numpy(arrays["z"])
            ws = network.styles(z, labels, psi=psi, cutoff=facts.get("truncation_cutoff"))
        else:
            ws = torch.from_numpy(arrays["ws"])
        images, _ = network.synthesise(ws, noise)
    return images, torch.from_numpy(arrays["image"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "case", "options"),
    [
        ("sg2ada_u64_scrubbed_p4.pkl", "sg2ada_u64_psi1", {}),
        ("sg2ada_u64_scrubbed_p3.pkl", "sg2ada_u64_psi07", {}),
        ("sg2ada_u64_psi1.safetensors", "sg2ada_u64_psi05_cut4_nonoise", {}),
        ("sg2ada_c32_psi07.safetensors", "sg2ada_c32_psi07", {}),
        ("sg2ada_u32_orig_clamp.safetensors", "sg2ada_u32_orig_clamp", {"config": True}),
        ("sg2ada_u32_resnet_clamp.safetensors", "sg2ada_u32_resnet_clamp", {"config": True}),
        ("rosinality_u64.pt", "rosinality_u64_psi07", {}),
        ("rosinality_u64_psi1.safetensors", "rosinality_u64_psi1", {}),
        ("tf_sg2_u32.pkl", "tf_sg2_u32_psi07", {}),
        ("tf_sg2_u32.pkl", "tf_sg2_u32_psi10", {}),
    ],
)
def test_a_stylegan2_of_every_format_makes_the_reference_images(file, case, options):
    config = {"config": PARITY / f"{case}.json"} if options else {}
    ours, reference = stylegan2_images(read(file, **config), case)
    assert (ours - reference).abs().max() <= TOLERANCE


def _images(network: object, arrays: dict, facts: dict) -> torch.Tensor:
    z = torch.from_numpy(arrays["z"])
    classes = torch.from_numpy(arrays["y"]) if "y" in arrays else None
    if hasattr(network, "styles"):
        ws = network.styles(z, classes, psi=facts.get("trunc_psi", 1.0), cutoff=None)
        noise = (network.const_noise(),) if hasattr(network, "const_noise") else ()
        return network.synthesise(ws, *noise)[0]
    if isinstance(network, biggan_deep_hf.Network):
        return network.synthesise(z, _classes(arrays), truncation=facts["truncation"])[0]
    if isinstance(network, dcgan_network.Network):
        return network.synthesise(z)[0]
    return network.synthesise(z, classes)[0]


def _classes(arrays: dict) -> torch.Tensor:
    key = "y" if "y" in arrays else "c" if "c" in arrays else "class_vector"
    found = torch.from_numpy(arrays[key])
    return found.argmax(dim=1) if found.ndim == 2 else found


@pytest.mark.parametrize(
    ("file", "case", "family", "network"),
    [
        ("sg3t_64_scrubbed_p4.pkl", "sg3t_64_psi1", "stylegan3", stylegan3_network.Network),
        ("sg3t_64_psi1.safetensors", "sg3t_64_psi1", "stylegan3", stylegan3_network.Network),
        ("sg3r_64_psi1.safetensors", "sg3r_64_psi1", "stylegan3", stylegan3_network.Network),
        ("biggan_aj_64.safetensors", "biggan_aj_64", "biggan_ajbrock", biggan_ajbrock_network.Network),
        (
            "biggandeep_aj_64.safetensors", "biggandeep_aj_64", "biggan_ajbrock",
            biggan_ajbrock_network.Network,
        ),
        (
            "biggan_deep_hf_64_t04.safetensors", "biggan_deep_hf_64_t04", "biggan_deep_hf",
            biggan_deep_hf.Network,
        ),
        (
            "stylegan1_genforce_64.safetensors", "stylegan1_genforce_64", "stylegan1",
            stylegan1_network.Network,
        ),
        ("pggan_genforce_64.safetensors", "pggan_genforce_64", "pggan", pggan.Network),
        ("dcgan_64.safetensors", "dcgan_64", "dcgan", dcgan_network.Network),
    ],
)  # fmt: skip
def test_other_families_make_the_reference_images_from_what_was_read(file, case, family, network):
    checkpoint = read(file)
    assert checkpoint.family == family
    arrays, facts = arrays_of(case), json.loads((PARITY / f"{case}.json").read_text())
    built = network(TensorBag(checkpoint.tensors, source=file), checkpoint.kwargs, CPU)
    with torch.no_grad():
        images = _images(built, arrays, facts)
    assert (images - torch.from_numpy(arrays["image"])).abs().max() <= 2e-4


def test_a_network_pickle_says_all_its_settings_and_hides_nothing_it_assumes():
    checkpoint = read("sg2ada_u64_scrubbed_p4.pkl")
    assert checkpoint.layout == "nvidia-pkl (ADA repository)"
    assert checkpoint.kwargs == {
        "z_dim": 64, "c_dim": 0, "w_dim": 64, "img_resolution": 64, "img_channels": 3,
        "mapping_kwargs": {"num_layers": 8, "lr_multiplier": 0.01},
        "synthesis_kwargs": {
            "channel_base": 1024, "channel_max": 48, "conv_clamp": None, "architecture": "skip",
            "num_fp16_res": 0,
        },
    }  # fmt: skip
    assert checkpoint.assumptions == []
    assert len(checkpoint.source_sha256) == 64
    assert checkpoint.source_length == 1400
    assert "neither run nor copied" in checkpoint.notes[0]


@pytest.mark.slow
def test_protocols_three_and_four_of_one_network_give_the_same_checkpoint():
    third, fourth = read("sg2ada_u64_scrubbed_p3.pkl"), read("sg2ada_u64_scrubbed_p4.pkl")
    assert third.kwargs == fourth.kwargs
    assert third.tensors.keys() == fourth.tensors.keys()
    assert all(torch.equal(third.tensors[name], fourth.tensors[name]) for name in third.tensors)


def test_a_bare_state_dict_reports_what_it_could_not_say():
    checkpoint = read("sg2ada_u64_psi1.safetensors")
    assert any("lr_multiplier 0.01" in line for line in checkpoint.assumptions)
    assert any("no conv_clamp" in line for line in checkpoint.assumptions)


def test_settings_that_contradict_the_tensors_are_refused(tmp_path):
    config = tmp_path / "settings.json"
    config.write_text(json.dumps({"z_dim": 128}))
    with pytest.raises(WeightsError, match=r"z_dim 128 in the settings, 64 in the tensors"):
        read("sg2ada_u64_psi1.safetensors", config=config)


def test_stylegan3_settings_from_a_state_dict_are_those_of_the_pickle():
    pickled, bare = read("sg3t_64_scrubbed_p4.pkl").kwargs, read("sg3t_64_psi1.safetensors").kwargs
    assert pickled["layer_names"] == bare["layer_names"]
    for name in pickled["layer_names"]:
        ours, theirs = bare["layers"][name], pickled["layers"][name]
        for key in ours.keys() - {"init_kwargs"}:
            assert ours[key] == pytest.approx(theirs[key]), (name, key)
    assert pickled["input"] == bare["input"]


def _rosinality() -> dict[str, torch.Tensor]:
    return load_file(PARITY / "rosinality_u64_psi1.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["converted", "training", "bare", "module", "legacy"])
def test_the_layouts_of_rosinality_give_one_checkpoint(layout, tmp_path):
    weights, file = _rosinality(), tmp_path / "weights.bin"
    trained = {name: tensor + 1 for name, tensor in weights.items()}
    if layout == "converted":
        torch.save({"g_ema": weights, "latent_avg": torch.ones(64)}, file)
    elif layout == "training":
        torch.save({"g": trained, "d": {"x": torch.ones(2)}, "g_ema": weights, "args":
                    argparse.Namespace(size=64, path="x"), "ada_aug_p": 0.5}, file)  # fmt: skip
    elif layout == "module":
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, file)
    else:
        torch.save(weights, file, _use_new_zipfile_serialization=layout != "legacy")
    checkpoint = read_checkpoint(file)
    wanted = read("rosinality_u64_psi1.safetensors").tensors
    assert checkpoint.tensors.keys() == wanted.keys()
    same = {name for name in wanted if torch.equal(checkpoint.tensors[name], wanted[name])}
    assert same == wanted.keys() - ({"mapping.w_avg"} if layout == "converted" else set())
    assert any("w_avg" in line for line in checkpoint.assumptions) == (layout != "converted")


def test_a_rosinality_file_without_noise_gets_fixed_noise_and_says_so(tmp_path):
    weights = {name: tensor for name, tensor in _rosinality().items() if "noises" not in name}
    torch.save(weights, tmp_path / "old.pt")
    first, second = read_checkpoint(tmp_path / "old.pt"), read_checkpoint(tmp_path / "old.pt")
    assert any("9 noise maps" in line for line in first.assumptions)
    noise = "synthesis.b64.conv1.noise_const"
    assert first.tensors[noise].shape == (64, 64)
    assert torch.equal(first.tensors[noise], second.tensors[noise])
    assert torch.equal(first.tensors["mapping.w_avg"], second.tensors["mapping.w_avg"])


def test_the_mean_style_is_near_the_one_the_network_has():
    checkpoint = read("sg2ada_u64_psi1.safetensors")
    network = Network(TensorBag(checkpoint.tensors, source=""), checkpoint.kwargs, CPU)
    from factory.checkpoint.families.mean_style import mean_style

    z = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))
    mean = network.mapping(z, None).mean(dim=0)
    assert (mean_style(checkpoint.tensors, 0.01) - mean).abs().max() < 0.1


@pytest.mark.slow
def test_a_hugging_face_folder_reads_with_its_config(tmp_path):
    facts = json.loads((PARITY / "biggan_deep_hf_64_t04.json").read_text())
    torch.save(
        load_file(PARITY / "biggan_deep_hf_64_t04.safetensors"), tmp_path / "pytorch_model.bin"
    )
    (tmp_path / "config.json").write_text(json.dumps(facts["config"]))
    for place in (tmp_path, tmp_path / "pytorch_model.bin"):
        checkpoint = read_checkpoint(place)
        assert checkpoint.family == "biggan_deep_hf"
        assert checkpoint.kwargs == facts["config"]
        assert checkpoint.assumptions == []
    (tmp_path / "config.json").write_text(json.dumps({**facts["config"], "num_classes": 7}))
    with pytest.raises(WeightsError, match=r"num_classes 7 in config\.json, 10 in the tensors"):
        read_checkpoint(tmp_path)


def test_a_hugging_face_safetensors_takes_its_config_from_metadata_or_from_beside_it(tmp_path):
    facts = json.loads((PARITY / "biggan_deep_hf_64_t04.json").read_text())
    weights = load_file(PARITY / "biggan_deep_hf_64_t04.safetensors")
    (tmp_path / "alone").mkdir()
    said = {"config": json.dumps(facts["config"])}
    save_file(weights, tmp_path / "alone" / "x.safetensors", metadata=said)
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(facts["config"]))
    for place in (tmp_path, tmp_path / "model.safetensors", tmp_path / "alone" / "x.safetensors"):
        checkpoint = read_checkpoint(place)
        assert checkpoint.kwargs == facts["config"]
        assert checkpoint.assumptions == []


def test_a_training_file_of_a_dcgan_gives_its_generator(tmp_path):
    weights = load_file(PARITY / "dcgan_64.safetensors")
    torch.save({"netD_state_dict": {"x": torch.ones(1)}, "netG_state_dict": weights, "epoch": 3,
                "G_losses": [0.5] * 100}, tmp_path / "x.tar")  # fmt: skip
    checkpoint = read_checkpoint(tmp_path / "x.tar")
    assert (checkpoint.family, checkpoint.layout) == ("dcgan", "torch zip (netG_state_dict)")
    assert checkpoint.kwargs["img_resolution"] == 64
    assert [layer["stride"] for layer in checkpoint.kwargs["layers"]] == [1, 2, 2, 2, 2]


def test_a_bare_dcgan_keeps_its_names(tmp_path):
    weights = load_file(PARITY / "dcgan_64.safetensors")
    save_file({name.removeprefix("main."): tensor for name, tensor in weights.items()},
              tmp_path / "x")  # fmt: skip
    checkpoint = read_checkpoint(tmp_path / "x")
    assert "0.weight" in checkpoint.tensors
    assert checkpoint.kwargs["img_resolution"] == 64


@pytest.mark.parametrize("models", ["generator_smooth", "models"])
def test_genforce_files_give_the_averaged_generator(models, tmp_path):
    weights = load_file(PARITY / "stylegan1_genforce_64.safetensors")
    both = {"generator": {name: tensor + 1 for name, tensor in weights.items()},
            "generator_smooth": weights}  # fmt: skip
    torch.save({"models": both} if models == "models" else both, tmp_path / "x.pth")
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert torch.equal(checkpoint.tensors["truncation.w_avg"], weights["truncation.w_avg"])
    assert checkpoint.kwargs["resolution"] == 64


@pytest.mark.parametrize("zipped", [True, False])
def test_every_number_type_and_stride_survives_torch_files(zipped, tmp_path):
    base = torch.arange(48, dtype=torch.float32).reshape(4, 3, 2, 2)
    weights = {
        "main.0.weight": base.contiguous(memory_format=torch.channels_last),
        "half": base.half()[1:, ::2], "bfloat": base.bfloat16()[:, 1], "double": base.double(),
        "long": torch.arange(6)[::2], "int": torch.arange(6, dtype=torch.int32),
        "short": torch.arange(6, dtype=torch.int16), "char": torch.arange(6, dtype=torch.int8),
        "byte": torch.arange(6, dtype=torch.uint8), "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 3), "view": base[2],
        "again": base[2],
    }  # fmt: skip
    torch.save(weights, tmp_path / "x", _use_new_zipfile_serialization=zipped)
    found = read_tensors(tmp_path / "x")
    for name, tensor in weights.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].is_contiguous()
        assert torch.equal(found[name], tensor), name


def test_channels_last_weights_of_a_pickle_are_read_by_their_strides():
    view = a.tensor(
        a.load_storage(a.torch_stream(a.storage_id("0", 6) + b"Q",
                                      ("0", 6, struct.pack("<6f", *range(6))))),
        a.number(0), a.tuple_of(a.number(2), a.number(3)), a.tuple_of(a.number(1), a.number(2)),
    )  # fmt: skip
    from factory.checkpoint.files.torch_stream import load_storage
    from factory.checkpoint.pickles.machine import Machine, Rules
    from factory.checkpoint.pickles.source import Budget, Stream
    from factory.checkpoint.pickles.tensors import torch_tensor

    data = a.whole(view)
    budget = Budget("x", 10_000)
    found, _ = Machine(
        Stream(memoryview(data), "x"), budget, Rules(load_storage=load_storage)
    ).run()
    assert torch_tensor(found, budget).tolist() == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.slow
def test_a_hostile_source_inside_a_valid_file_is_data_like_any_other(tmp_path):
    data = (PARITY / "sg2ada_u64_scrubbed_p4.pkl").read_bytes()
    start = data.index(b"# source text removed")
    length = 1400
    canary = tmp_path / "canary"
    evil = f"import os\nos.system('touch {canary}')\nraise SystemExit\n".encode().ljust(
        length, b"#"
    )
    changed = data.replace(data[start : start + length], evil)
    assert changed != data
    (tmp_path / "x.pkl").write_bytes(changed)
    checkpoint = read_checkpoint(tmp_path / "x.pkl")
    assert not canary.exists()
    assert checkpoint.source_sha256 != read("sg2ada_u64_scrubbed_p4.pkl").source_sha256
    ours, reference = stylegan2_images(checkpoint, "sg2ada_u64_psi1")
    assert (ours - reference).abs().max() <= TOLERANCE


def test_protocol_two_pickles_write_numpy_bytes_as_text_and_are_read(tmp_path):
    from factory.checkpoint.pickles.machine import Machine, Rules
    from factory.checkpoint.pickles.plain import plain
    from factory.checkpoint.pickles.source import Budget, Stream

    values = [np.arange(300.0), np.float32(1.5), np.asfortranarray(np.eye(3)), np.bool_(1)]
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps({"x": values, "s": {1, 2}, "e": set()}, protocol=protocol)
        if b"numpy._core.numeric" in data:
            continue  # NumPy writes protocol 5 with out-of-band buffers, which no network pickle uses
        found, _ = Machine(Stream(memoryview(data), "x"), Budget("x", 10_000), Rules()).run()
        assert plain(found["x"], Budget("x", 10_000), "x") == [value.tolist() for value in values]


def test_a_file_ending_plays_no_part(tmp_path):
    for number, name in enumerate(("tf_sg2_u32.pkl", "rosinality_u64.pt", "dcgan_64.safetensors")):
        (tmp_path / f"{number}.jpg").write_bytes((PARITY / name).read_bytes())
        assert read_checkpoint(tmp_path / f"{number}.jpg").family == read(name).family


def test_strict_refuses_objects_of_other_libraries_that_are_tolerated_beside_the_generator(
    tmp_path,
):
    file = tmp_path / "x.pkl"
    file.write_bytes(a.whole(a.mapping(D=a.name("timm.models.vit", "ViT") + b")\x81", G_ema=b"N")))
    with pytest.raises(WeightsError, match="without a generator network"):
        read_checkpoint(file)
    with pytest.raises(WeightsError, match=r"'timm\.models\.vit\.ViT' at byte"):
        read_checkpoint(file, strict=True)


def test_zip64_directories_are_understood():
    names = zipfile.ZipFile(PARITY / "rosinality_u64.pt").namelist()
    assert any(name.endswith("/data.pkl") for name in names)
    assert read("rosinality_u64.pt").layout == "rosinality, torch zip (g_ema)"

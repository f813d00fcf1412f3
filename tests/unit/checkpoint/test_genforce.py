"""StyleGAN2 as genforce, KLiSH, LinearGAN and pixel2style2pixel keep it: the reference images."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts import as_genforce, as_pixel2style2pixel
from safetensors.torch import load_file
from torch.nn import functional

from factory.checkpoint import Checkpoint, read_checkpoint
from factory.errors import WeightsError
from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag

PARITY = Path(__file__).parents[2] / "golden" / "parity"
CPU = Numerics(torch.device("cpu"), torch.float32)
PSI1 = "sg2ada_u64_psi1"


def tensors_of(case: str) -> dict[str, torch.Tensor]:
    facts = json.loads((PARITY / f"{case}.json").read_text())
    return load_file(PARITY / facts["weights_file"])


def furthest(checkpoint: Checkpoint, case: str) -> float:
    """Largest difference between our image and the reference's."""
    facts = json.loads((PARITY / f"{case}.json").read_text())
    with np.load(PARITY / f"{case}.npz") as arrays:
        z, image = torch.from_numpy(arrays["z"]), torch.from_numpy(arrays["image"])
    network = Network(TensorBag(checkpoint.tensors, source=case), checkpoint.kwargs, CPU)
    psi = facts.get("truncation_psi", facts.get("truncation", 1.0))
    ws = network.styles(z, None, psi=psi, cutoff=facts.get("truncation_cutoff"))
    with torch.no_grad():
        return float((network.synthesise(ws, network.const_noise())[0] - image).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("older", [False, True], ids=["genforce", "KLiSH"])
@pytest.mark.parametrize("case", [PSI1, "sg2ada_u64_psi07", "sg2ada_u32_orig_clamp"])
def test_a_genforce_stylegan2_makes_the_reference_images(case, older, tmp_path):
    weights = as_genforce(tensors_of(case), older=older)
    trained = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"generator": trained, "generator_smooth": weights, "discriminator": {
        "layer0.weight": torch.zeros(3, 3, 3, 3)}}, tmp_path / "x.pth")  # fmt: skip
    settings = {"conv_clamp": 2.5} if "clamp" in case else {}
    checkpoint = read_checkpoint(tmp_path / "x.pth", settings=settings)
    assert (checkpoint.family, checkpoint.layout) == (
        "stylegan2", "genforce, torch zip (generator_smooth)"
    )  # fmt: skip
    assert furthest(checkpoint, case) <= 1e-4
    assert any("mapping_lr_mul 0.01" in line for line in checkpoint.assumptions)
    assert any("'generator_smooth'" in note for note in checkpoint.notes)


def test_a_residual_network_of_the_older_layout_keeps_its_shortcuts(tmp_path):
    torch.save(as_genforce(tensors_of("sg2ada_u32_resnet_clamp"), older=True), tmp_path / "x.pt")
    config = PARITY / "sg2ada_u32_resnet_clamp.json"  # for its clamp
    checkpoint = read_checkpoint(tmp_path / "x.pt", config=config)
    assert checkpoint.kwargs["synthesis_kwargs"]["architecture"] == "resnet"
    assert furthest(checkpoint, "sg2ada_u32_resnet_clamp") <= 1e-4


def test_the_mapping_s_rate_comes_from_a_config_in_genforce_s_words(tmp_path):
    weights = as_genforce(tensors_of(PSI1))
    for name in list(weights):
        if name.startswith("mapping."):
            weights[name] = weights[name] / 10
    torch.save(weights, tmp_path / "x.pth")
    (tmp_path / "config.json").write_text(json.dumps({"mapping_lr_mul": 0.1, "resolution": 64}))
    checkpoint = read_checkpoint(tmp_path / "x.pth", config=tmp_path / "config.json")
    assert furthest(checkpoint, PSI1) <= 1e-4
    assert not checkpoint.assumptions
    assert furthest(read_checkpoint(tmp_path / "x.pth"), PSI1) > 0.01
    (tmp_path / "config.json").write_text(json.dumps({"resolution": 128}))
    with pytest.raises(WeightsError, match="img_resolution 128 in the settings, 64 in the tensors"):
        read_checkpoint(tmp_path / "x.pth", config=tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({"final_tanh": True}))
    with pytest.raises(WeightsError, match="setting final_tanh True, where only False is computed"):
        read_checkpoint(tmp_path / "x.pth", config=tmp_path / "config.json")


def test_labels_are_normalised_together_with_the_latent(tmp_path):
    weights, random = as_genforce(tensors_of(PSI1)), torch.Generator().manual_seed(4)
    embedding = torch.randn(5, 64, generator=random)
    weights["mapping.label_weight"] = embedding
    first = torch.randn(64, 128, generator=random) * 100
    weights["mapping.dense0.weight"] = first
    torch.save(weights, tmp_path / "x.pth")
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    assert (checkpoint.kwargs["c_dim"], checkpoint.kwargs["z_dim"]) == (5, 64)
    network = Network(TensorBag(checkpoint.tensors, source=""), checkpoint.kwargs, CPU)
    z, classes = torch.randn(4, 64, generator=random), torch.tensor([0, 4, 2, 2])
    x = torch.cat([z, embedding[classes]], dim=1)
    x = x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    for number in range(8):
        weight, bias = (weights[f"mapping.dense{number}.{part}"] for part in ("weight", "bias"))
        x = functional.linear(x, weight * 0.01 / weight.shape[1] ** 0.5, bias * 0.01)
        x = functional.leaky_relu(x, 0.2) * 2**0.5
    ours = network.mapping(z, functional.one_hot(classes, 5).float())
    torch.testing.assert_close(ours, x, atol=1e-5, rtol=1e-5)


def test_a_network_of_genforce_s_successor_is_not_taken_for_genforce_s(tmp_path):
    weights = as_genforce(tensors_of(PSI1))
    weights["w_avg"] = weights.pop("truncation.w_avg")
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"'truncation\.w_avg' is missing.*genforce's StyleGAN2"):
        read_checkpoint(tmp_path / "x.pth")
    weights = as_genforce(tensors_of(PSI1)) | {"synthesis.filter": torch.ones(4)}
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"'synthesis\.filter' is left over"):
        read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("case", ["rosinality_u64_psi1", "rosinality_u64_psi07"])
def test_the_decoder_of_pixel2style2pixel_makes_the_reference_images(case, tmp_path):
    with np.load(PARITY / f"{case}.npz") as arrays:
        centre = (
            torch.from_numpy(arrays["latent_avg"]) if "latent_avg" in arrays else torch.ones(64)
        )
    weights = load_file(PARITY / "rosinality_u64_psi1.safetensors")
    torch.save(as_pixel2style2pixel(weights, centre, 10), tmp_path / "psp.pt")
    checkpoint = read_checkpoint(tmp_path / "psp.pt")
    assert checkpoint.layout == "rosinality, torch zip (state_dict.decoder)"
    assert torch.equal(checkpoint.tensors["mapping.w_avg"], centre.reshape(-1))
    assert furthest(checkpoint, case) <= 1e-4


def test_a_mean_style_whose_rows_differ_is_averaged_and_that_is_said(tmp_path):
    weights = load_file(PARITY / "rosinality_u64_psi1.safetensors")
    found = as_pixel2style2pixel(weights, torch.ones(64), 10)
    found["latent_avg"] = torch.arange(10.0)[:, None].expand(10, 64).contiguous()
    torch.save(found, tmp_path / "psp.pt")
    checkpoint = read_checkpoint(tmp_path / "psp.pt")
    assert checkpoint.tensors["mapping.w_avg"].tolist() == [4.5] * 64
    assert any("10 rows that differ" in line for line in checkpoint.assumptions)

"""StyleGAN2 against the reference implementation: every case, every feature map, every format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from factory.generate.numerics import Numerics
from factory.generate.stylegan2.network import Network
from factory.generate.weights.find import TensorBag

PARITY = Path(__file__).parents[2] / "golden" / "parity"
CASES = sorted(path.stem for path in PARITY.glob("sg2ada_*.json"))
CPU = torch.device("cpu")
TOLERANCE = 1e-4


def load(case: str, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Any], Any, Network]:
    facts = json.loads((PARITY / f"{case}.json").read_text())
    arrays = np.load(PARITY / facts["data_file"])
    bag = TensorBag(load_file(PARITY / facts["weights_file"]), source=case)
    return facts, arrays, Network(bag, facts["init_kwargs"], Numerics(CPU, dtype))


def furthest(ours: torch.Tensor, theirs: np.ndarray) -> float:
    assert tuple(ours.shape) == theirs.shape
    return float((ours - torch.from_numpy(theirs)).abs().max())


def labels_of(arrays: Any) -> torch.Tensor | None:
    return torch.from_numpy(arrays["c"]).float() if "c" in arrays else None


def test_all_seven_cases_are_here() -> None:
    assert len(CASES) == 7


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_styles_images_and_every_feature_map_are_the_reference_s(case: str) -> None:
    facts, arrays, network = load(case)
    psi, cutoff = facts["truncation_psi"], facts["truncation_cutoff"]
    ws = network.styles(torch.from_numpy(arrays["z"]), labels_of(arrays), psi=psi, cutoff=cutoff)
    theirs = torch.from_numpy(arrays["ws"])
    if case != "sg2ada_u64_stylemix":  # its rows are mixed after the mapping
        assert furthest(ws, arrays["ws"]) <= TOLERANCE
    noise = network.const_noise() if facts["noise_mode"] == "const" else {}
    outputs = {block.name: block.output_name for block in network.blocks}
    names = {
        key: outputs.get(key.removeprefix("feat/").removesuffix("/x"), key.removeprefix("feat/"))
        for key in arrays.files
        if key.startswith("feat/") and not key.endswith("/img")
    }
    images, features = network.synthesise(theirs, noise, set(names.values()))
    assert furthest(images, arrays["image"]) <= TOLERANCE
    for key, name in names.items():
        assert furthest(features[name], arrays[key]) <= TOLERANCE, name


@pytest.mark.parametrize("case", ["sg2ada_u64_psi1", "sg2ada_c32_psi07", "sg2ada_u32_resnet_clamp"])
@torch.inference_mode()
def test_a_batch_of_four_and_four_batches_of_one_agree(case: str) -> None:
    _, arrays, network = load(case)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((4, network.mapping.z_dim)))
    labels = labels_of(arrays)
    labels = None if labels is None else labels[:1].repeat(4, 1)
    ws = network.styles(z.float(), labels)
    together, _ = network.synthesise(ws, network.const_noise())
    alone = [network.synthesise(ws[i : i + 1], network.const_noise())[0] for i in range(4)]
    assert float((together - torch.cat(alone)).abs().max()) <= 1e-5


@pytest.mark.parametrize(("dtype", "least_db"), [(torch.bfloat16, 36), (torch.float16, 56)])
@torch.inference_mode()
def test_half_precision_stays_close_to_full(dtype: torch.dtype, least_db: float) -> None:
    """Signal to noise relative to the image's own spread, as the reference's own halves have it."""
    _, arrays, full = load("sg2ada_u64_psi1")
    ws = full.styles(torch.from_numpy(arrays["z"]), None)
    exact, _ = full.synthesise(ws, full.const_noise())
    _, _, half = load("sg2ada_u64_psi1", dtype)
    rough, _ = half.synthesise(ws, half.const_noise())
    assert rough.dtype == torch.float32
    noise = (rough - exact).square().mean().sqrt() / exact.std()
    decibel = -20 * float(torch.log10(noise))
    assert least_db <= decibel < 120, f"{decibel:.1f} dB"

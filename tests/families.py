"""The generator families beside StyleGAN2, with a reference case of each: what the tests share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from factory.generate.biggan import ajbrock_network as biggan_ajbrock_network
from factory.generate.biggan import deep_hf_network as biggan_deep_hf
from factory.generate.early import dcgan_network, pggan, stylegan1_network
from factory.generate.numerics import Numerics
from factory.generate.stylegan3 import network as stylegan3_network
from factory.generate.weights.find import TensorBag

GOLDEN = Path(__file__).parents[0] / "golden"
CPU = torch.device("cpu")
Result = tuple[Tensor, dict[str, Tensor]]


@dataclass(frozen=True)
class Family:
    """One family: how to build its network, and how to ask it for images."""

    kind: str
    network: Callable[..., Any]
    synthesise: Callable[..., Result]
    kwargs_key: str = "init_kwargs"


def _styles(network: Any, z: Tensor, classes: Tensor | None, case: dict[str, Any]) -> Tensor:
    psi = case.get("trunc_psi", case.get("truncation_psi", 1.0))
    cutoff = case.get("trunc_layers", case.get("truncation_cutoff"))
    return network.styles(z, classes, psi=psi, cutoff=cutoff)


def _stylegan3(net: Any, z: Tensor, classes: Tensor | None, case: dict, wanted: Any = ()) -> Result:
    return net.synthesise(_styles(net, z, classes, case), wanted)


def _stylegan1(net: Any, z: Tensor, classes: Tensor | None, case: dict, wanted: Any = ()) -> Result:
    return net.synthesise(_styles(net, z, classes, case), net.const_noise(), wanted)


def _biggan_hf(net: Any, z: Tensor, classes: Tensor | None, case: dict, wanted: Any = ()) -> Result:
    return net.synthesise(z, classes, truncation=case["truncation"], wanted=wanted)


def _with_classes(
    net: Any, z: Tensor, classes: Tensor | None, case: dict, wanted: Any = ()
) -> Result:
    return net.synthesise(z, classes, wanted)


STYLEGAN3 = Family(
    "factory.generate.stylegan3.generator:StyleGAN3", stylegan3_network.Network, _stylegan3
)
STYLEGAN1 = Family(
    "factory.generate.early.stylegan1:StyleGAN1", stylegan1_network.Network, _stylegan1
)
PGGAN = Family("factory.generate.early.pggan:PGGAN", pggan.Network, _with_classes)
DCGAN = Family("factory.generate.early.dcgan:DCGAN", dcgan_network.Network, _with_classes)
BIGGAN_HF = Family(
    "factory.generate.biggan.deep_hf:BigGANDeepHF", biggan_deep_hf.Network, _biggan_hf, "config"
)
BIGGAN = Family(
    "factory.generate.biggan.ajbrock:BigGAN", biggan_ajbrock_network.Network, _with_classes
)

CASES = {
    "sg3t_64_psi1": STYLEGAN3,
    "sg3r_64_psi1": STYLEGAN3,
    "biggan_deep_hf_64_t04": BIGGAN_HF,
    "biggan_deep_hf_64_t0455": BIGGAN_HF,
    "biggan_deep_hf_64_t056": BIGGAN_HF,
    "biggan_deep_hf_64_t1": BIGGAN_HF,
    "biggan_aj_64": BIGGAN,
    "biggandeep_aj_64": BIGGAN,
    "stylegan1_genforce_64": STYLEGAN1,
    "stylegan1_genforce_64_psi07_l8": STYLEGAN1,
    "pggan_genforce_64": PGGAN,
    "dcgan_64": DCGAN,
}
NETWORKS = [
    "sg3t_64_psi1",
    "sg3r_64_psi1",
    "biggan_deep_hf_64_t04",
    "biggan_aj_64",
    "biggandeep_aj_64",
    "stylegan1_genforce_64",
    "pggan_genforce_64",
    "dcgan_64",
]
"""One case of each weights file."""


def load_case(name: str) -> dict[str, Any]:
    """The description of a reference case, with the network's kwargs under `kwargs`."""
    case = json.loads((GOLDEN / "parity" / f"{name}.json").read_text())
    case["kwargs"] = case.get(CASES[name].kwargs_key, {})
    return case


def load_arrays(name: str) -> dict[str, np.ndarray]:
    """A reference case's inputs, feature maps and images."""
    with np.load(GOLDEN / "parity" / f"{name}.npz") as arrays:
        return dict(arrays)


def load_tensors(name: str) -> dict[str, Tensor]:
    """A reference case's weights."""
    return load_file(GOLDEN / "parity" / load_case(name)["weights_file"])


def make_network(
    name: str,
    *,
    tensors: dict[str, Tensor] | None = None,
    kwargs: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    dense: bool | None = None,
    device: torch.device = CPU,
) -> Any:
    """The network of a reference case, with other tensors or kwargs if they are given."""
    case = load_case(name)
    bag = TensorBag(load_tensors(name) if tensors is None else tensors, source=name)
    chosen = case["kwargs"] if kwargs is None else kwargs
    return CASES[name].network(bag, chosen, Numerics(device, dtype, dense))


def layer_names(network: Any) -> list[str]:
    """Names of a network's feature maps, as far as it lists its layers."""
    layers = getattr(network, "layers", ())
    return [str(getattr(getattr(layer, "geometry", layer), "name", layer)) for layer in layers]


def classes_of(arrays: dict[str, np.ndarray]) -> Tensor | None:
    """Class ids of a reference case."""
    if "y" in arrays:
        return torch.from_numpy(arrays["y"])
    return torch.from_numpy(arrays["c"].argmax(1)) if "c" in arrays else None


def save_weights(folder: Path, name: str, **metadata: str) -> Path:
    """A reference case as the safetensors file that plugins read."""
    path = folder / f"{name}.safetensors"
    tensors = {key: tensor.contiguous() for key, tensor in load_tensors(name).items()}
    save_file(tensors, path, {"kwargs": json.dumps(load_case(name)["kwargs"]), **metadata})
    return path

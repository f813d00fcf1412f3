"""A plugin to be filled in, for weights of a network that no family here knows.

The text is a Python module: it says which tensors the file has, does everything that a generator must
but compute images, and refuses to run until that is filled in.
"""

from collections.abc import Sequence

from factory.checkpoint import TensorFacts

MOST_LISTED = 40
"""Tensors that are named; of all others there is only a count."""

_LONGEST_NAME = 100
_LONGEST_PREFIX = 400

_TEMPLATE = '''\
"""A generator plugin for @FILE@, whose network is of no family that factory knows.

Fill in what says FILL IN. Save this as my_generator.py where you call factory, and name it in a job:

    generator: {kind: "my_generator:MyGenerator", weights: "@FILE@"}

@TENSORS@
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from factory.checkpoint import read_tensors
from factory.data import LatentBatch
from factory.errors import JobError, PluginError, WeightsError
from factory.generate.base import GeneratorFacts, LayerShape
from factory.generate.batch import ImageBatch
from factory.generate.contract import check_cutoff, check_layers, check_noise, class_ids, z_of
from factory.generate.numerics import make_image_batch, to_bytes
from factory.spec import GeneratorSpec

UNDER = @UNDER@  # what stands before the generator's names in the file; none of its other tensors
RESOLUTION = 0  # FILL IN: rows and columns of an image
Z_DIM = 0  # FILL IN: width of a latent
NUM_CLASSES = 0  # classes that it is conditioned on; 0 = none
CHANNELS = 3  # 1 = grey, 3 = RGB, 4 = RGB and alpha
LAYERS: dict[str, LayerShape] = {
    # FILL IN: the feature maps that segmenters may read, from coarse to fine, such as
    # "up1": LayerShape(channels=128, height=8, width=8),
}


class MyGenerator:
    """The generator. Equal latents give equal images, whatever else is in their batch."""

    def __init__(self, spec: GeneratorSpec, weights: Path | None, device: torch.device) -> None:
        """Load `weights` onto `device`."""
        if not (RESOLUTION and Z_DIM and LAYERS):
            raise PluginError("my_generator.py: RESOLUTION, Z_DIM or LAYERS are not filled in yet")
        if weights is None:
            raise WeightsError("dataset.generator.weights: missing; give the path of the weights")
        if spec.precision != "float32":
            raise JobError(f"dataset.generator.precision: found {spec.precision!r}; only 'float32' here")
        check_noise(spec)  # remove it if the network has noise inputs, and honour spec.noise
        self._device = device
        read = read_tensors(weights, UNDER)  # runs nothing that is in the file
        self._tensors = {name: tensor.float().to(device) for name, tensor in read.items()}
        self.facts = GeneratorFacts(
            resolution=RESOLUTION, num_classes=NUM_CLASSES, class_names=(), layers=LAYERS,
            channels=CHANNELS,
        )

    def draw_z(self, rng: np.random.Generator) -> np.ndarray:
        """One latent, from nothing but `rng`."""
        return rng.standard_normal(Z_DIM, dtype=np.float32)

    def generate(self, latents: LatentBatch, layers: Sequence[str]) -> ImageBatch:
        """Images of `latents`, with the feature maps named in `layers`."""
        check_layers(layers, self.facts)
        check_cutoff(latents)  # remove it if the network has style rows, and honour the cutoff
        z = z_of(latents, self._device) * latents.truncation_psi  # pulled towards the mean latent
        classes = class_ids(latents, NUM_CLASSES, self._device)  # int64; None without classes
        images, features = self._synthesise(z, classes)
        return make_image_batch(to_bytes(images), {name: features[name] for name in layers})

    def _synthesise(
        self, z: Tensor, classes: Tensor | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Images (float32, CHANNELS x RESOLUTION x RESOLUTION, -1 to 1) and all maps of LAYERS."""
        w = self._tensors
        # FILL IN the forward pass, in evaluation mode, such as
        # x = functional.linear(z, w["fc.weight"], w["fc.bias"]).reshape(len(z), -1, 4, 4)
        # x = functional.conv_transpose2d(x, w["up1.weight"], w["up1.bias"], stride=2, padding=1)
        # return torch.tanh(x), {"up1": x}
        raise PluginError("my_generator.py: _synthesise is not filled in yet")
'''


def plugin_template(file_name: str, tensors: Sequence[TensorFacts]) -> str:
    """The text of a plugin for a file of this name with these tensors.

    Names come from the file, which may be anybody's: they are quoted, and cannot end a comment or drive
    a terminal.
    """
    prefix = _shared_prefix([fact.name for fact in tensors])
    values = {"FILE": _in_text(file_name), "TENSORS": _list(tensors), "UNDER": ascii(prefix)}
    text = _TEMPLATE
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _list(tensors: Sequence[TensorFacts]) -> str:
    lines = [f"It has {len(tensors):,} tensors, by name, type and shape:", ""]
    for fact in tensors[:MOST_LISTED]:
        shape = " x ".join(map(str, fact.shape)) or "one number"
        lines.append(f"    {_in_text(fact.name):<44} {fact.dtype:<9} {shape}")
    if len(tensors) > MOST_LISTED:
        lines.append(f"    ... and {len(tensors) - MOST_LISTED:,} more")
    return "\n".join(lines)


def _in_text(name: str) -> str:
    """A name that can stand inside a docstring between three quotes."""
    shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
    return ascii(shown)[1:-1].replace("\\", "/").replace('"', "'").replace("@", "(at)")


def _shared_prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a dot."""
    first, last = min(names, default=""), max(names, default="")
    same = 0
    while same < min(len(first), len(last), _LONGEST_PREFIX) and first[same] == last[same]:
        same += 1
    return first[: first.rfind(".", 0, same) + 1]

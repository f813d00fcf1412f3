"""Shared by all generators: open weights, and validate a request against the capabilities.

It depends on no network family.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from factory.checkpoint import check_channels
from factory.data import LatentBatch
from factory.errors import JobError, WeightsError
from factory.generate.base import GeneratorFacts, LayerShape, StyleFacts
from factory.generate.numerics import Numerics
from factory.generate.weights.find import WeightsContent, read_weights
from factory.spec import GeneratorSpec

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def open_weights(spec: GeneratorSpec, weights: Path | None) -> WeightsContent:
    """Read the weights file that `spec` names.

    Raises:
        WeightsError: If the job names none, or the file cannot be read.
    """
    if weights is None:
        raise WeightsError(f"dataset.generator.weights: missing; {spec.kind} needs a weights file")
    return read_weights(weights)


def numerics(spec: GeneratorSpec, device: torch.device) -> Numerics:
    """Device and precision for the synthesis network."""
    return Numerics(device, _DTYPES[spec.precision])


def facts_of(
    content: WeightsContent,
    *,
    resolution: int,
    channels: int,
    num_classes: int,
    layers: Mapping[str, LayerShape],
    styles: StyleFacts | None = None,
    spaces: Mapping[str, tuple[int, ...]] | None = None,
) -> GeneratorFacts:
    """A generator's capabilities; class names, attribution and licence come from the file's metadata.

    Raises:
        WeightsError: If its images are neither grey nor RGB, with or without alpha.
    """
    check_channels("dataset.generator.weights", channels)
    return GeneratorFacts(
        resolution=resolution,
        num_classes=num_classes,
        class_names=tuple(json.loads(content.metadata.get("class_names", "[]"))),
        layers=layers,
        attribution=content.metadata.get("attribution", ""),
        channels=channels,
        license=content.metadata.get("license", ""),
        styles=styles,
        spaces=spaces or {},
    )


def check_noise(spec: GeneratorSpec) -> None:
    """Reject noise per sample for a family without noise inputs; `const` and `none` are equal there.

    Raises:
        JobError: If the job asks for noise per sample.
    """
    if spec.noise == "per_sample":
        raise JobError(
            f"dataset.generator.noise: found 'per_sample', but {spec.kind} has no noise inputs; "
            "use 'const' or 'none', which are the same for it"
        )


def check_layers(layers: Sequence[str], facts: GeneratorFacts) -> None:
    """Reject feature maps that the generator does not have.

    Raises:
        JobError: If there is one.
    """
    for name in layers:
        if name not in facts.layers:
            raise JobError(
                f"dataset.segmenter.layers: this generator has no feature map {name!r}; it has "
                + ", ".join(facts.layers)
            )


def check_cutoff(latents: LatentBatch) -> None:
    """Reject a truncation cutoff for networks without style rows.

    Raises:
        JobError: If the job sets a truncation cutoff.
    """
    if latents.truncation_cutoff is not None:
        raise JobError(
            f"dataset.latents.truncation_cutoff: found {latents.truncation_cutoff}; this generator "
            "has no style rows; remove the setting"
        )


def z_of(latents: LatentBatch, device: torch.device) -> Float[Tensor, "n z"]:
    """The latents on `device`, float32."""
    return torch.from_numpy(latents.z).to(device, torch.float32)


def rows_of(latents: LatentBatch, device: torch.device) -> Float[Tensor, "n 1 z"]:
    """The latents on `device`, float32, as one row of each sample."""
    return z_of(latents, device)[:, None]


def single_row(z: Float[Tensor, "n rows z"]) -> Float[Tensor, "n z"]:
    """The latents of a family in which one latent feeds all layers.

    Raises:
        JobError: If there are several for each sample.
    """
    if z.shape[1] != 1:
        raise JobError(
            f"found {z.shape[1]} latents for one image; this generator has no style rows and takes one"
        )
    return z[:, 0]


def style_rows(
    styles: Callable[[Tensor, Tensor | None], Tensor],
    z: Float[Tensor, "n rows z"],
    classes: Tensor | None,
) -> Float[Tensor, "n styles w_dim"]:
    """Style rows (W+) of latents: one latent for all of them, or one for each.

    Args:
        styles: Maps latents and classes (one line per sample) to all style rows.
        z: The latents.
        classes: Classes of the samples, as `styles` takes them; None without.
    """
    count, rows = z.shape[:2]
    if rows == 1:
        return styles(z[:, 0], classes)
    if classes is not None:
        classes = classes.repeat_interleave(rows, dim=0)
    # The mapping network is small: each latent is mapped to all style rows, and gives the one of its
    # own number, so that truncation with a cutoff needs no rule of its own.
    each = styles(z.flatten(0, 1), classes)
    own = each.reshape(count, rows, *each.shape[1:]).diagonal(dim1=1, dim2=2)
    return own.transpose(1, 2)


def class_ids(
    latents: LatentBatch, num_classes: int, device: torch.device
) -> Int64[Tensor, " n"] | None:
    """The class of each sample on `device`; None for a generator without classes.

    Raises:
        JobError: If a label is not a class. -1 is none: as an index it would mean the last class.
    """
    if not num_classes:
        return None
    labels = latents.class_labels
    if labels.min() < 0 or labels.max() >= num_classes:
        raise JobError(
            f"dataset.latents.classes: found classes {labels.min()} to {labels.max()}; this "
            f"generator needs one of 0 to {num_classes - 1} for every sample"
        )
    return torch.from_numpy(labels).to(device)

"""Encode and decode segmenter files: safetensors, with everything but tensors as JSON metadata.

Equal contents give equal bytes: the metadata has one key, because the format does not promise an
order for several.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from factory.described import Described
from factory.errors import JobError
from factory.manifest.labels import MaskClass
from factory.manifest.versions import read_file_of

_KEY = "factory_segmenter"

Corners = Literal["aligned", "half_pixel"]
"""Which points of maps of different sides lie on each other."""


class SegmenterFacts(Described):
    """The content of a segmenter file beside its tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    """Version of this layout."""
    kind: str
    """The method that was fitted, by its `kind`."""
    generator_kind: str
    """The generator family it was fitted on."""
    weights_sha256: str
    """SHA-256 of that generator's weights."""
    layers: list[str]
    """Feature maps it reads."""
    labels: list[MaskClass]
    """Classes of its masks."""
    nodes: list[list[int]] = Field([])
    """Nodes of the merge tree that make up each class: the rows of weights and bias, class by class.
    Empty = one row per class."""
    margin_scale: float
    """Median margin between the best two classes on the fitting pixels, in logits."""
    fitted_on: dict[str, int | float]
    """Figures about the fit, such as a head's agreement with its teacher."""
    corners: Corners = "aligned"
    """How a linear head enlarges its maps: `aligned` = the corner pixels' centres lie on each other, as
    in KLiSH's and LinearGAN's code; `half_pixel` = the corners themselves do, as in the upsampling of
    generators, so that masks are not shifted against the image."""


_FIRST = frozenset(
    {
        *("schema_version", "kind", "generator_kind", "weights_sha256", "layers", "labels"),
        *("nodes", "margin_scale", "fitted_on"),
    }
)
"""Facts that every file states. The file's digest is part of its datasets' identity, so one added
later is written only if it differs from its default: earlier fits must keep their bytes."""


def encode_segmenter(tensors: dict[str, Tensor], facts: SegmenterFacts) -> bytes:
    """Encode a segmenter file; equal contents give equal bytes."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    defaults = {
        name
        for name, field in type(facts).model_fields.items()
        if name not in _FIRST and getattr(facts, name) == field.get_default()
    }
    return save(whole, metadata={_KEY: facts.model_dump_json(exclude=defaults)})


def read_segmenter(path: Path) -> tuple[dict[str, Tensor], SegmenterFacts]:
    """Read the tensors and facts of a segmenter file.

    Raises:
        JobError: If it cannot be read, is not a segmenter file, or a newer version wrote it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise JobError(f"{path}: cannot read the segmenter file ({error.strerror})") from error
    return decode_segmenter(data, source=str(path))


def decode_segmenter(data: bytes, *, source: str) -> tuple[dict[str, Tensor], SegmenterFacts]:
    """Decode the tensors and facts of a segmenter file. `source` names it in errors.

    Raises:
        JobError: If it is not a segmenter file, or a newer version wrote it.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        text = header["__metadata__"][_KEY].encode()
        return tensors, read_file_of(SegmenterFacts, text, source=source, error=JobError)
    except (SafetensorError, KeyError, ValueError) as error:
        raise JobError(f"{source}: not a segmenter file; make one with `factory fit`") from error


def weight_name(layer: str) -> str:
    """Name of a layer's weights (classes by channels) in the segmenter file."""
    return f"weight/{layer}"

"""A fitted segmenter as a file: tensors in safetensors, everything else as JSON in its metadata.

Equal contents give equal bytes: the metadata has one key, because the format does not promise an
order for several.
"""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from factory.errors import JobError
from factory.manifest import ClassLabel

_KEY = "factory_segmenter"


class SegmenterFacts(BaseModel):
    """What a segmenter file says beside its tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    schema_version: int = 1
    """Version of this layout."""
    kind: str
    """The method it was fitted by."""
    generator_kind: str
    """The generator it was fitted on."""
    weights_sha256: str
    """That generator's weights."""
    layers: list[str]
    """Feature maps it reads."""
    labels: list[ClassLabel]
    """Classes of its masks."""
    margin_scale: float
    """Median margin between the best two classes on the fitting pixels, in logits."""
    fitted_on: dict[str, int | float]
    """Numbers about the fit."""


def encode_segmenter(tensors: dict[str, Tensor], facts: SegmenterFacts) -> bytes:
    """The bytes of a segmenter file."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(whole, metadata={_KEY: facts.model_dump_json()})


def read_segmenter(path: Path) -> tuple[dict[str, Tensor], SegmenterFacts]:
    """The tensors and facts of a segmenter file.

    Raises:
        JobError: If it is not a segmenter file of this version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {})[_KEY]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, SegmenterFacts.model_validate(json.loads(text))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise JobError(
            f"{path}: not a segmenter file ({type(error).__name__}); make one with `factory fit`"
        ) from error

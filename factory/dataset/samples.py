"""Decode the files of a sample, and check that they belong together."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8, UInt16

from factory.dataset.walk import (
    ALPHA_FILE,
    CONFIDENCE_FILE,
    EDITED_FILES,
    EDITED_MASK_FILE,
    FACTS_FILE,
    INSTANCES_FILE,
    MASK_FILE,
    StoredSample,
)
from factory.identity import sample_key
from factory.pack.facts import InstanceFacts, SampleFacts, read_facts
from factory.pack.image import decode_image, decode_instances, decode_mask


@dataclass(frozen=True, slots=True)
class ReadSample:
    """One sample, decoded. Its arrays are read-only: copy what you want to change."""

    key: str
    """The sample index as nine digits."""
    image: UInt8[np.ndarray, "h w 3"]
    """RGB, 0 to 255."""
    mask: UInt8[np.ndarray, "h w"]
    """Class ids; 255 = ignore."""
    facts: SampleFacts
    """The content of its `KEY.json`: `InstanceFacts` if the dataset has instances, `EditFacts` if it has
    edits."""
    confidence: UInt8[np.ndarray, "h w"] | None = None
    """Confidence of each pixel times 255; None if the dataset does not have it."""
    instances: UInt16[np.ndarray, "h w"] | None = None
    """Instance of each pixel, from 1; 0 = none. None if the dataset has no instances."""
    alpha: UInt8[np.ndarray, "h w"] | None = None
    """The foreground's share of each pixel times 255; None if the dataset does not have it."""
    edited: UInt8[np.ndarray, "h w 3"] | None = None
    """The image after an edit; None in a dataset without edits."""
    edited_mask: UInt8[np.ndarray, "h w"] | None = None
    """Its mask."""


def decode_sample(stored: StoredSample, dataset_id: str) -> ReadSample:
    """Decode the files of a sample of the dataset with this id.

    Raises:
        ValueError: If a file is missing or damaged, or the files do not belong together.
    """
    files = stored.files
    edited = next((files[ending] for ending in EDITED_FILES if ending in files), None)
    sample = ReadSample(
        stored.key,
        decode_image(stored.image),
        decode_mask(stored.file(MASK_FILE)),
        read_facts(
            stored.file(FACTS_FILE), InstanceFacts if INSTANCES_FILE in files else SampleFacts
        ),
        decode_mask(files[CONFIDENCE_FILE]) if CONFIDENCE_FILE in files else None,
        decode_instances(files[INSTANCES_FILE]) if INSTANCES_FILE in files else None,
        decode_mask(files[ALPHA_FILE]) if ALPHA_FILE in files else None,
        decode_image(edited) if edited is not None else None,
        decode_mask(files[EDITED_MASK_FILE]) if EDITED_MASK_FILE in files else None,
    )
    facts = sample.facts
    if facts.key != sample.key or facts.key != sample_key(facts.index):
        raise ValueError(f"its facts name it {facts.key} with index {facts.index}")
    if facts.dataset_id != dataset_id:
        raise ValueError(f"of dataset {facts.dataset_id}, this is {dataset_id}")
    size = (facts.height, facts.width)
    for name in ("image", "mask", "confidence", "instances", "alpha", "edited", "edited_mask"):
        pixels = getattr(sample, name)
        if pixels is not None and pixels.shape[:2] != size:
            raise ValueError(f"its {name} has size {pixels.shape[:2]}, its facts say {size}")
    return sample

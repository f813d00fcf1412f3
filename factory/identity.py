"""The basis of reproducible bytes: digests, canonical JSON, sample keys, counter-based random numbers.

It does not know what a dataset is.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

KEY_DIGITS = 9
"""Digits of a sample key: a dataset holds up to 10^9 sample indices."""

SHARD_DIGITS = 6
"""Digits of a shard's name: a dataset holds up to 10^6 shards."""

_STREAMS = {
    "latent": 0,
    "class_label": 1,
    "noise": 2,
    "pixels": 3,
    "seeding": 4,
    "training": 5,
    "variants": 6,
    "clustering": 7,
    "reading": 8,
    "resampling": 9,
    "first_weights": 10,
    "redrawn_noise": 11,
    "radius": 12,
    "candidates": 13,
    "layouts": 14,
    "cells": 16,
    "backgrounds": 17,
    "edits": 18,
}


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: If `value` contains a NaN or an infinity.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(value: object) -> str:
    """SHA-256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file's bytes, read a piece at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sample_key(index: int) -> str:
    """The name of sample `index` inside a shard: zero-padded, so that names sort as numbers do."""
    return f"{index:0{KEY_DIGITS}d}"


def is_key(text: str) -> bool:
    """Whether `text` has the form of a sample's key."""
    return len(text) == KEY_DIGITS and text.isascii() and text.isdigit()


def shard_name(dataset: str, shard_index: int) -> str:
    """The name of a shard without its ending, e.g. `cells-000012`."""
    return f"{dataset}-{shard_index:0{SHARD_DIGITS}d}"


def counter_rng(stream: str, seed: int, index: int, substream: int = 0) -> np.random.Generator:
    """A random number generator that is a pure function of (stream, seed, index, substream).

    A counter-based generator (Philox, Salmon et al. 2011, "Parallel random numbers: as easy as 1,
    2, 3") keyed by the arguments: no state is shared, so any worker can draw any sample's numbers.
    Seed 0 is a seed like any other.

    Args:
        stream: What the numbers are for; streams never overlap.
        seed: The dataset's seed, 0 <= seed < 2^63.
        index: The sample's index, 0 <= index < 2^63.
        substream: Separates several draws for one sample, such as its noise maps.
    """
    key = np.array([seed, index], dtype=np.uint64)
    counter = np.array([0, 0, substream, _STREAMS[stream]], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))

import json

import pytest
import torch

from factory.errors import JobError
from factory.segment.segmenter_file import SegmenterFacts, decode_segmenter, encode_segmenter

FACTS = {
    "kind": "kmeans",
    "generator_kind": "shapes",
    "weights_sha256": "",
    "layers": ["s8"],
    "labels": [],
    "margin_scale": 1.0,
    "fitted_on": {"num_images": 3},
}
TENSORS = {"bias": torch.zeros(2)}


class LaterFacts(SegmenterFacts):
    """What a later version might state."""

    temperature: float = 1.0


def test_a_fact_added_later_leaves_the_bytes_of_a_fit_alone_until_it_differs():
    before = encode_segmenter(TENSORS, SegmenterFacts(**FACTS))
    assert encode_segmenter(TENSORS, LaterFacts(**FACTS)) == before
    assert encode_segmenter(TENSORS, LaterFacts(**FACTS, temperature=2.0)) != before


def test_every_fact_of_the_first_version_is_stated_even_at_its_default():
    data = encode_segmenter(TENSORS, SegmenterFacts(**FACTS))
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    stated = json.loads(header["__metadata__"]["factory_segmenter"])
    assert set(stated) == {*FACTS, "schema_version", "nodes"}


def test_a_segmenter_file_of_a_newer_layout_says_what_to_do():
    data = encode_segmenter(TENSORS, SegmenterFacts(**FACTS, schema_version=2))
    with pytest.raises(JobError) as caught:
        decode_segmenter(data, source="tree.safetensors")
    assert str(caught.value) == (
        "tree.safetensors: written by a newer maskfactory (layout 2); this one, 0.1.0, reads layouts "
        "up to 1; update it"
    )

"""`labels.json` of somebody else."""

import json

import pytest

from factory.errors import DamageError
from factory.manifest.labels import read_labels


def test_a_table_of_a_million_labels_is_refused_before_it_is_parsed():
    label = {"id": 0, "name": "c", "colour": [1, 2, 3]}
    data = json.dumps({"labels": [label] * 200_000}).encode()
    with pytest.raises(
        DamageError, match=r"a label table has at most 4,194,304; delete it and run"
    ):
        read_labels(data, source="labels.json")

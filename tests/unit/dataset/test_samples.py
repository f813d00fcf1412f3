import json

import pytest
from damage import TAR, replaced, rewrite

from factory.dataset.reader import open_dataset
from factory.errors import DamageError

KEY = "000000005"


def test_a_decoded_sample_is_what_was_made(finished):
    sample = open_dataset(finished)[5]
    assert (sample.key, sample.facts.key, sample.facts.index) == (KEY, KEY, 5)
    assert (sample.image.shape, str(sample.image.dtype)) == ((32, 32, 3), "uint8")
    assert (sample.mask.shape, str(sample.mask.dtype)) == ((32, 32), "uint8")
    assert [(sample.mask == k).sum() for k in range(4)] == sample.facts.class_px
    assert sample.confidence is None
    assert sample.instances is None


def changed_facts(**changes):
    def change(members):
        return [
            (n, json.dumps(json.loads(d) | changes).encode() if n == f"{KEY}.json" else d)
            for n, d in members
        ]

    return change


def without(ending):
    return lambda members: [m for m in members if m[0] != f"{KEY}.{ending}"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (replaced(f"{KEY}.image.png", b"x"), "not a whole image"),
        (without("mask.png"), "it has no mask.png"),
        (without("image.png"), "it has no image"),
        (without("json"), "it has no json"),
        (replaced(f"{KEY}.json", b"{}"), "its facts have 10 problems"),
        (changed_facts(key="000000006"), "its facts name it 000000006"),
        (changed_facts(dataset_id="f" * 16), f"of dataset {'f' * 16}, this is "),
        (changed_facts(width=31), "its image has size (32, 32), its facts say (32, 31)"),
    ],
)
def test_files_that_do_not_make_a_sample_are_told_with_shard_and_key(root, change, found):
    rewrite(root, change)
    for read in (lambda ds: ds[5], lambda ds: list(ds.samples())):
        with pytest.raises(DamageError) as caught:
            read(open_dataset(root))
        told = f"{root}/{TAR}: damaged (sample {KEY}: {found}"
        assert str(caught.value).startswith(told)

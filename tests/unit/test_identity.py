import hashlib

import numpy as np
import pytest

from factory.identity import (
    canonical_json,
    counter_rng,
    digest_of,
    digest_of_file,
    sample_key,
    shard_name,
)


def test_canonical_json_sorts_keys_at_every_depth_and_wastes_no_space():
    value = {"b": [1, 2.5, None, True], "a": {"z": "ä", "y": ""}}
    assert canonical_json(value) == r'{"a":{"y":"","z":"\u00e4"},"b":[1,2.5,null,true]}'


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_canonical_json_refuses_what_json_cannot_say(bad):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": [bad]})


def test_a_digest_is_that_of_the_canonical_text():
    assert digest_of({"b": 1, "a": 2}) == hashlib.sha256(b'{"a":2,"b":1}').hexdigest()
    assert digest_of({"a": 1}) != digest_of({"a": 1.5})


def test_a_file_s_digest_is_that_of_all_its_bytes(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(data)
    assert digest_of_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_keys_sort_as_text_the_way_their_indices_sort():
    indices = [0, 9, 10, 99, 100, 12_345, 999_999_999]
    keys = [sample_key(index) for index in indices]
    assert keys == sorted(keys)
    assert keys[:2] == ["000000000", "000000009"]
    assert {len(key) for key in keys} == {9}


def test_a_shard_s_name_is_the_dataset_s_and_six_digits():
    assert shard_name("cells", 12) == "cells-000012"


def draw(*args, **kwargs):
    return tuple(counter_rng(*args, **kwargs).integers(0, 2**63, 4).tolist())


def test_random_numbers_are_a_pure_function_of_their_arguments():
    rng = counter_rng("latent", 5, 7)
    first = rng.integers(0, 2**63, 4).tolist()
    counter_rng("latent", 5, 8).standard_normal(100)
    assert tuple(first) == draw("latent", 5, 7)


def test_no_two_neighbouring_streams_seeds_indices_or_lanes_share_their_numbers():
    draws = [
        draw(stream, seed, index, lane)
        for stream in ("latent", "class_label", "noise", "pixels", "seeding")
        for seed in (0, 1, 2, 2**63 - 1)
        for index in (0, 1, 2, 2**62, 2**63 - 1)
        for lane in (0, 1, 17)
    ]
    assert len(set(draws)) == len(draws)
    assert len({number for numbers in draws for number in numbers}) == 4 * len(draws)


def test_seed_and_index_do_not_stand_in_for_each_other():
    assert draw("latent", 3, 4) != draw("latent", 4, 3)


def test_seed_0_is_a_seed_like_any_other():
    assert draw("latent", 0, 0) == draw("latent", 0, 0)
    numbers = counter_rng("latent", 0, 0).standard_normal(20_000)
    assert abs(numbers.mean()) < 0.03
    assert abs(numbers.std() - 1) < 0.03


def test_samples_of_neighbouring_indices_are_not_correlated():
    rows = np.stack([counter_rng("latent", 0, i).standard_normal(512) for i in range(64)])
    correlation = np.corrcoef(rows) - np.eye(64)
    assert np.abs(correlation).max() < 0.25


def test_an_unknown_stream_is_a_bug_and_not_another_stream():
    with pytest.raises(KeyError):
        counter_rng("latents", 0, 0)

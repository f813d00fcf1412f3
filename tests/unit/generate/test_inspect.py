"""The description of a checkpoint says what a job needs to use it, and what was assumed."""

import hashlib

import pytest
from families import load_tensors, save_weights
from safetensors.torch import save_file

from factory.errors import WeightsError
from factory.generate.inspect import inspect_weights


def test_a_bare_state_dict_is_described_with_what_was_assumed(tmp_path):
    tensors = load_tensors("dcgan_64")
    path = tmp_path / "bare"
    save_file(tensors, path)
    found = inspect_weights(path)
    assert (found.family, found.resolution, found.channels, found.num_classes) == (
        "dcgan", 64, 3, 0,
    )  # fmt: skip
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.num_tensors == len(tensors)
    assert found.num_parameters == sum(tensor.numel() for tensor in tensors.values())
    assert len(found.assumptions) == 2
    assert [layer.height for layer in found.layers] == sorted(
        layer.height for layer in found.layers
    )
    assert found.layers[-1].height <= 64
    assert found.source_sha256 == ""


def test_a_file_that_says_what_it_is_keeps_its_words(tmp_path):
    path = save_weights(tmp_path, "pggan_genforce_64", family="pggan", license="CC0", layout="ours")
    found = inspect_weights(path)
    assert (found.family, found.license, found.layout) == ("pggan", "CC0", "ours")


def test_settings_beside_the_file_are_assumptions_no_longer(tmp_path):
    path = tmp_path / "bare"
    save_file(load_tensors("dcgan_64"), path)
    config = tmp_path / "settings.json"
    config.write_text('{"output_activation": "sigmoid", "hidden_activation": "relu", '
                      '"bn_eps": 1e-4, "latent": "normal"}')  # fmt: skip
    assert len(inspect_weights(path, config=config).assumptions) == 1


def test_a_file_without_a_generator_is_refused(tmp_path):
    save_file({"w": load_tensors("dcgan_64").popitem()[1]}, tmp_path / "w")
    with pytest.raises(WeightsError):
        inspect_weights(tmp_path / "w")

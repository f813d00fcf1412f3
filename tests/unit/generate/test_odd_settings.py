"""Converted files whose settings somebody changed: a line that names the file, no traceback."""

import json
import struct
from pathlib import Path

import pytest
import torch

from factory.checkpoint import read_checkpoint, write_safetensors
from factory.errors import WeightsError
from factory.generate.base import load_generator
from factory.generate.inspect import inspect_weights
from factory.plugins import Registry
from factory.spec import GeneratorSpec

PARITY = Path(__file__).parents[2] / "golden/parity"


def change(file, change_header):
    """Write the file again with another header; the bytes of its tensors stay."""
    raw = file.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    change_header(header)
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def converted(tmp_path, case):
    file = tmp_path / "weights.safetensors"
    write_safetensors(read_checkpoint(PARITY / f"{case}.safetensors"), file)
    return file


def with_setting(path, value):
    def change_header(header):
        kwargs = json.loads(header["__metadata__"]["kwargs"])
        inside = kwargs
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
        header["__metadata__"]["kwargs"] = json.dumps(kwargs)

    return change_header


@pytest.mark.parametrize(
    ("case", "path", "value"),
    [
        ("biggan_deep_hf_64_t04", ["layers", 7], -1),
        ("biggan_deep_hf_64_t04", ["layers", 7], {"a": {}}),
        ("stylegan1_genforce_64", ["mapping_lr_mul"], "fast"),
        ("sg3r_64_psi1", ["layers", "L3_52_20", "tmp_sampling_rate"], 10**30),
        ("pggan_genforce_64", ["label_size"], {}),
    ],
)
def test_a_setting_of_another_type_is_told_with_the_file(tmp_path, case, path, value):
    file = converted(tmp_path, case)
    family = inspect_weights(file).family
    change(file, with_setting(path, value))
    with pytest.raises(WeightsError) as caught:
        inspect_weights(file)
    assert str(caught.value).startswith(f"{file}: ")
    with pytest.raises(WeightsError) as caught:
        load_generator(GeneratorSpec(kind=family), file, device=torch.device("cpu"))
    assert str(caught.value).startswith(f"{file}: no {family} can be built from its settings")
    assert str(caught.value).endswith("convert the original checkpoint again")


def test_a_list_of_channels_is_no_number_of_them(tmp_path):
    file = converted(tmp_path, "pggan_genforce_64")
    change(file, with_setting(["image_channels"], [3]))
    with pytest.raises(WeightsError, match=r"its images have \[3\] channels; 1 \(grey\), 3"):
        inspect_weights(file)


@pytest.mark.parametrize("key", ["class_names", "notes", "assumptions", "warnings"])
@pytest.mark.parametrize("value", [[None], [1], [["a"]], {"a": 1}])
def test_a_list_of_texts_that_is_none_is_told(tmp_path, key, value):
    file = converted(tmp_path, "dcgan_64")
    change(file, lambda header: header["__metadata__"].update({key: json.dumps(value)}))
    with pytest.raises(WeightsError, match=f"metadata '{key}' is not the JSON list of texts"):
        inspect_weights(file)


def test_a_tensor_with_thousands_of_axes_is_refused_unread(tmp_path):
    file = converted(tmp_path, "dcgan_64")

    def stretch(header):
        name = next(name for name in header if name != "__metadata__")
        header[name]["shape"] += [1] * 100_000

    change(file, stretch)
    with pytest.raises(WeightsError, match=r"tensor '.*' with too many axes .* 8 are allowed"):
        inspect_weights(file)


def test_the_mistake_of_a_plugin_stays_its_author_s(monkeypatch):
    class Broken:
        def __init__(self, spec, weights, device):
            raise KeyError("mine")

        def generate(self, latents, layers):
            raise NotImplementedError

    monkeypatch.setattr(Registry, "load", lambda *_: Broken)
    spec, weights = GeneratorSpec(kind="mine:Broken"), Path("w.safetensors")
    with pytest.raises(KeyError, match="mine"):
        load_generator(spec, weights, device=torch.device("cpu"))

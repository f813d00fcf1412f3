"""What is written as safetensors comes back as it was, and equal checkpoints are equal bytes."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from factory.checkpoint import FAMILIES, Checkpoint, read_checkpoint, write_safetensors
from factory.errors import WeightsError
from factory.generate.weights.find import read_weights

PARITY = Path(__file__).parents[2] / "golden" / "parity"
ROOT = Path(__file__).parents[3]
FILES = [
    "sg2ada_u64_scrubbed_p3.pkl",
    "sg3t_64_scrubbed_p4.pkl",
    "tf_sg2_u32.pkl",
    "rosinality_u64.pt",
    "biggan_deep_hf_64_t04.safetensors",
    "biggandeep_aj_64.safetensors",
    "stylegan1_genforce_64.safetensors",
    "pggan_genforce_64.safetensors",
    "dcgan_64.safetensors",
]


def assert_equal(first: Checkpoint, second: Checkpoint) -> None:
    for field in dataclasses.fields(Checkpoint):
        if field.name != "tensors":
            assert getattr(first, field.name) == getattr(second, field.name), field.name
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert tensor.dtype == second.tensors[name].dtype
        assert torch.equal(tensor, second.tensors[name]), name


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_written_checkpoint_comes_back_without_loss(name, tmp_path):
    checkpoint = read_checkpoint(PARITY / name)
    write_safetensors(checkpoint, tmp_path / "first.safetensors")
    again = read_checkpoint(tmp_path / "first.safetensors")
    assert_equal(checkpoint, again)
    write_safetensors(again, tmp_path / "second.safetensors")
    first, second = (tmp_path / f"{which}.safetensors" for which in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_every_number_type_and_every_field_comes_back(tmp_path):
    base = torch.arange(12.0)
    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
             torch.int16, torch.int8, torch.uint8, torch.bool)  # fmt: skip
    tensors = {f"t.{dtype}": base.to(dtype).reshape(3, 4) for dtype in types}
    tensors |= {"shared": base, "sharing": base[2:5], "column": base.reshape(3, 4)[:, 1],
                "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4)}  # fmt: skip
    checkpoint = Checkpoint(
        "dcgan", "a layout", tensors, {"z_dim": 1, "nothing": None, "umlaut": "ä"}, ["one"], "ab" * 32,
        17, ["a note"], "CC-BY-4.0", "by somebody", ["cat", "dög"],
    )  # fmt: skip
    write_safetensors(checkpoint, tmp_path / "x")
    assert_equal(checkpoint, read_checkpoint(tmp_path / "x"))
    with safe_open(tmp_path / "x", framework="pt") as file:  # the library agrees
        assert set(file.keys()) == set(tensors)
        assert file.metadata()["license"] == "CC-BY-4.0"


@pytest.mark.slow
def test_the_bytes_are_the_same_in_every_process(tmp_path):
    script = (
        "import sys; from pathlib import Path\n"
        "from factory.checkpoint import read_checkpoint, write_safetensors\n"
        "write_safetensors(read_checkpoint(Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    digests = set()
    source = PARITY / "rosinality_u64_psi1.safetensors"  # its mean style is computed
    for seed, threads in (("1", "1"), ("2", "2")):
        target = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": threads,
                       "OPENBLAS_NUM_THREADS": threads}  # fmt: skip
        subprocess.run([sys.executable, "-c", script, source, target], cwd=ROOT, check=True,
                       env=environment, timeout=100)  # fmt: skip
        digests.add(hashlib.sha256(target.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_the_file_has_what_generators_read(tmp_path):
    checkpoint = read_checkpoint(PARITY / "sg2ada_u64_scrubbed_p4.pkl")
    write_safetensors(checkpoint, tmp_path / "x")
    content = read_weights(tmp_path / "x")
    assert content.kwargs == checkpoint.kwargs
    wanted = {"family", "kwargs", "layout", "assumptions", "source_sha256", "license", "attribution",
              "class_names"}  # fmt: skip
    assert wanted <= content.metadata.keys()
    assert json.loads(content.metadata["class_names"]) == []


def test_licence_and_class_names_of_a_safetensors_file_are_kept(tmp_path):
    weights = Path(__file__).parents[3] / "factory" / "generate" / "blood_cells_64.safetensors"
    checkpoint = read_checkpoint(weights)
    assert checkpoint.license == "CC-BY-4.0"
    assert "Acevedo" in checkpoint.attribution
    assert checkpoint.class_names[0] == "basophil"
    write_safetensors(checkpoint, tmp_path / "x")
    assert_equal(checkpoint, read_checkpoint(tmp_path / "x"))


@pytest.mark.parametrize("kwargs", [{"x": float("nan")}, {"x": {1, 2}}, {"x": float("inf")}])
def test_settings_that_are_no_json_are_refused_and_leave_nothing(kwargs, tmp_path):
    with pytest.raises(WeightsError, match="settings that are not plain JSON"):
        write_safetensors(Checkpoint("dcgan", "x", {}, kwargs), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be written \(No such file"):
        write_safetensors(Checkpoint("dcgan", "x", {}, {}), tmp_path / "no" / "x")


def test_metadata_that_is_no_json_is_refused(tmp_path):
    tensors = load_file(PARITY / "dcgan_64.safetensors")
    broken = [{"kwargs": "{"}, {"kwargs": "[1]"}, {"class_names": "3"}, {"kwargs": '{"a":NaN}'},
              {"source_length": "many"}, {"kwargs": "[" * 100_000}]  # fmt: skip
    for metadata in broken:
        save_file(tensors, tmp_path / "x", metadata=metadata)
        with pytest.raises(WeightsError, match=r"metadata '\w+' is not the JSON"):
            read_checkpoint(tmp_path / "x")


def test_the_families_are_eight():
    assert len(FAMILIES) == 8

"""What tells the makers of bytes apart, where it can be told without a GPU."""

import pytest
import torch

from factory.make.machine import find_byte_versions
from factory.spec import EncodeSpec


def test_the_kernels_of_a_cpu_are_its_capability() -> None:
    versions = find_byte_versions(torch.device("cpu"), EncodeSpec())
    assert versions["kernels"] == torch.backends.cpu.get_cpu_capability()


def test_the_kernels_of_a_gpu_are_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    versions = find_byte_versions(torch.device("cuda:1"), EncodeSpec())
    assert versions["kernels"] == "CUDA 12.8, cuDNN 91002"
    assert all(isinstance(value, str) and len(value) <= 256 for value in versions.values())


def test_a_gpu_without_cudnn_has_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: None)
    assert find_byte_versions(torch.device("cuda"), EncodeSpec())["kernels"].startswith("CUDA 12.8")

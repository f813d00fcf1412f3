"""What is set before a GPU computes; the settings themselves need none."""

import os

import pytest
import torch
from small_job import small_job

from factory.errors import FactoryError
from factory.generate.base import load_generator
from factory.generate.device import prepare_device


@pytest.fixture
def settings(monkeypatch):
    """The settings as PyTorch ships them, put back afterwards."""
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")

    def found():
        return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32

    before = found()

    def put(values):
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, products.allow_tf32 = values

    put((False, True, True, True))
    yield found
    put(before)


def test_a_gpu_repeats_its_sums_and_float32_is_float32(settings):
    prepare_device(torch.device("cuda", 1))
    assert settings() == (True, False, False, False)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_a_cpu_leaves_everything_as_it_was(settings):
    prepare_device(torch.device("cpu"))
    assert settings() == (False, True, True, True)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_a_workspace_that_the_user_chose_stays(settings, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    prepare_device(torch.device("cuda"))
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_whoever_loads_a_generator_onto_a_gpu_gets_a_prepared_one(settings, tmp_path):
    spec = small_job(tmp_path, {"dataset.generator": {"kind": "no_such_family"}}).dataset.generator
    with pytest.raises(FactoryError):
        load_generator(spec, None, device=torch.device("cuda"))
    assert settings()[0]

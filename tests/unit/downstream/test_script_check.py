import warnings
import zipfile

import pytest
import torch

from factory.downstream.model_file import open_model
from factory.downstream.script_check import check_script
from factory.errors import PluginError

pytestmark = pytest.mark.slow


def refusal(path):
    with pytest.raises(PluginError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def save(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


class Writes(torch.nn.Module):
    def forward(self, images):
        torch.save(images, "owned.bin")
        return images


class Waits(torch.nn.Module):
    def forward(self, images):
        while bool(images.sum() < 1e30):
            images = images * 1.0
        return images


@pytest.mark.parametrize(("kind", "said"), [(Writes, "calls torch.save"), (Waits, "calls while")])
def test_a_script_that_does_more_than_compute_is_refused_before_it_is_loaded(
    kind, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.jit, "load", None)
    assert said in refusal(save(kind(), tmp_path / "bad.pt"))
    assert not (tmp_path / "owned.bin").exists()


class Early(torch.nn.Module):
    """Its code would run when it is loaded."""

    @torch.jit.export
    def __getstate__(self):
        return (torch.zeros(1), self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        torch.save(state[0], "owned.bin")
        self.training = state[1]

    def forward(self, images):
        return images


def test_code_that_would_run_at_loading_is_found_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "calls torch.save" in refusal(save(Early(), tmp_path / "early.pt"))
    assert not (tmp_path / "owned.bin").exists()


class Hides(torch.nn.Module):
    """A function of its own with the name of one that computes, which does not."""

    def relu(self, images):
        torch.save(images, "owned.bin")
        return images

    def forward(self, images):
        return self.relu(images)


def test_a_function_that_is_called_as_one_of_torch_is_looked_through_too(tmp_path):
    with pytest.raises(PluginError, match=r"calls torch\.save"):
        check_script(save(Hides(), tmp_path / "hides.pt"))


def test_a_file_that_unpacks_to_more_than_a_network_is_refused(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/code/a.py", "x = 1")
        archive.writestr("a/data/0", bytes(2**27))
    assert "bytes when it is unpacked" in refusal(path)

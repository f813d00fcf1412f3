import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from small_job import make_small

from factory.errors import JobError, PluginError
from factory.evaluate.open_reference import open_reference
from factory.evaluate.reference import ImageInput, Reference, ScoredSample
from factory.evaluate.reference_network import prepare, read_ids
from factory.store import open_store

TRUTH = np.arange(12, dtype=np.uint8).reshape(3, 4)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    make_small(folder)
    return open_store(str(folder / "out"))


def sample(key, side=None, image=None):
    shape = TRUTH.shape if side is None else (side, side)
    return ScoredSample(key, np.zeros(shape, np.uint8), image)


def known(path, store, images=None):
    reference = open_reference(str(path), store, images or ImageInput())
    assert isinstance(reference, Reference)
    return reference


def refusal(path, store):
    with pytest.raises((JobError, PluginError)) as caught:
        known(path, store).masks([sample("a", image=np.zeros((3, 4, 3), np.uint8))])
    return str(caught.value)


class Brighter(torch.nn.Module):
    """Logits of two classes: dark and bright red."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        red = images[:, :1]
        return torch.cat([0.5 - red, red - 0.5], dim=1)


class Ids(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images[:, 0] > 0.5).long()


class Named(Brighter):
    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"aux": images, "out": torch.cat([-images[:, :1], images[:, :1] - 1], dim=1)}


class Several(Ids):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return (images[:, 0] > 0.5).long(), images


class Strange(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0]


def as_script(path, network):
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        torch.jit.trace(network, torch.rand(2, 3, 8, 8), strict=False).save(str(path))


def as_onnx(path, batch="n"):
    """`Ids` as ONNX: argmax over [0.5, red] of the images."""
    node = helper.make_node
    nodes = [
        node("Gather", ["images", "zero"], ["red"], axis=1),
        node("Greater", ["red", "half"], ["bright"]),
        node("Cast", ["bright"], ["ids"], to=TensorProto.INT64),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "ids",
        [value("images", TensorProto.FLOAT, [batch, 3, "h", "w"])],
        [value("ids", TensorProto.INT64, [batch, "h", "w"])],
        [
            helper.make_tensor("zero", TensorProto.INT64, [], [0]),
            helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))


def half_red(side=8):
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[:, side // 2 :, 0] = 255
    return pixels


RED = np.repeat([[0, 0, 0, 0, 1, 1, 1, 1]], 8, axis=0)


@pytest.mark.parametrize(
    "network", [Brighter(), Ids(), Named(), Several()], ids=lambda n: type(n).__name__
)
def test_torchscript_is_a_reference_whatever_it_returns(tmp_path, store, network):
    as_script(tmp_path / "network.pt", network)
    found = known(tmp_path / "network.pt", store)
    assert found.needs_images
    masks = found.masks([sample("a", 8, half_red()), sample("b", 8, half_red())])
    assert [mask.tolist() for mask in masks] == [RED.tolist()] * 2


@pytest.mark.parametrize("batch", ["n", 1])
def test_onnx_is_a_reference_even_if_it_takes_one_image_at_a_time(tmp_path, store, batch):
    as_onnx(tmp_path / "network.onnx", batch)
    found = known(tmp_path / "network.onnx", store)
    masks = found.masks([sample("a", 8, half_red()), sample("b", 8, half_red())])
    assert [mask.tolist() for mask in masks] == [RED.tolist()] * 2


def test_images_are_resized_and_normalised_as_the_network_wants_them(tmp_path, store):
    images = torch.tensor([255, 51, 0], dtype=torch.uint8).expand(2, 8, 8, 3)
    wanted = ImageInput(mean=(0.5, 0.1, 0.0), std=(0.25, 0.5, 1.0), size_px=4)
    ready = prepare(images, wanted)
    assert ready.shape == (2, 3, 4, 4)
    assert torch.allclose(ready[0, :, 2, 2], torch.tensor([2.0, 0.2, 0.0]), atol=1e-6)
    as_script(tmp_path / "ids.pt", Ids())
    dark = known(tmp_path / "ids.pt", store, ImageInput(std=(4.0, 1.0, 1.0), size_px=16))
    assert dark.masks([sample("a", 8, half_red())])[0].max() == 0


def test_ids_are_enlarged_by_nearest_neighbour_and_logits_bilinearly():
    ids = torch.tensor([[[0, 7], [255, 2]]])
    assert read_ids(ids, ["a"], (4, 4), "it").tolist()[0][0] == [0, 0, 7, 7]
    logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]]]])
    assert read_ids(logits, ["a"], (1, 8), "it").tolist() == [[[0, 0, 0, 1, 1, 1, 1, 1]]]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (torch.zeros(1, 8, 8), "float32 [1, 8, 8]; allowed: logits [n, k, h, w] as floats, or "),
        (
            torch.zeros(1, 1, 8, 8),
            "float32 [1, 1, 8, 8]; logits need 2 to 255 classes: of a single",
        ),
        (torch.full((1, 8, 8), 256), "int64 [1, 8, 8] with ids beyond 0 to 255"),
        (torch.full((1, 8, 8), -1), "int64 [1, 8, 8] with ids beyond 0 to 255"),
        (torch.zeros(2, 2, 8, 8), "float32 [2, 2, 8, 8] for 1 image"),
        (torch.tensor(1.0), "float32 []; allowed: logits [n, k, h, w] as floats, or "),
        (torch.zeros(1, 2, 0, 8), "float32 [1, 2, 0, 8]; allowed: logits [n, k, h, w] as floats, "),
        (torch.zeros(1, 0, 8, dtype=torch.int64), "int64 [1, 0, 8]; allowed: logits"),
        (torch.zeros(1, 2, 8, 8, dtype=torch.int64), "int64 [1, 2, 8, 8]; allowed: logits"),
    ],
)
def test_an_output_that_is_no_segmentation_is_told(output, text):
    with pytest.raises(PluginError) as caught:
        read_ids(output, ["a"], (8, 8), "--reference: net.pt")
    assert str(caught.value).startswith(f"--reference: net.pt: returned torch.{text}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_told_with_their_image_and_their_number(value):
    logits = torch.zeros(3, 2, 4, 4, dtype=torch.float16)
    logits[1, 0, :2] = logits[2, 1, 0] = value
    with pytest.raises(PluginError) as caught:
        read_ids(logits, ["a", "b", "c"], (8, 8), "--reference: net.pt")
    assert str(caught.value) == (
        "--reference: net.pt: 8 of 32 logits of image b are NaN or infinite; check the file's weights, "
        "and that mean, std and size are those of its training"
    )


def test_networks_that_cannot_serve_are_told(tmp_path, store):
    for ending, text in {
        "pt": ": not TorchScript (PytorchStreamReader failed reading zip archive: not a ZIP archive); ",
        "onnx": " cannot be loaded as ONNX (",
    }.items():
        path = tmp_path / f"no.{ending}"
        path.write_bytes(b"nothing")
        assert refusal(path, store).startswith(f"--reference: {path}{text}")
    as_script(tmp_path / "strange.pt", Strange())
    assert "returned torch.float32 [1, 3, 4]; allowed" in refusal(tmp_path / "strange.pt", store)


@pytest.mark.slow
def test_without_onnx_runtime_the_command_that_installs_it_is_told(tmp_path):
    as_onnx(tmp_path / "network.onnx")
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from pathlib import Path\n"
        "from factory.evaluate.reference_network import load_network\n"
        f"load_network(Path({str(tmp_path / 'network.onnx')!r}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.splitlines()[-1] == (
        f"factory.errors.PluginError: --reference: {tmp_path}/network.onnx needs ONNX Runtime; "
        "install it with: pip install 'maskfactory[onnx]'"
    )

"""A chain of convolutions is a DCGAN only on evidence; whatever else has four axes is not."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.checkpoint import read_checkpoint
from factory.checkpoint.families.chain import find_chain
from factory.errors import UnknownGeneratorError, WeightsError

CONVNET = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "1.weight": (3, 8, 3, 3), "1.bias": (3,)}
DISCRIMINATOR = {"main.0.weight": (64, 3, 4, 4), "main.2.weight": (128, 64, 4, 4),
                 "main.5.weight": (1, 128, 4, 4)}  # fmt: skip
SUPER_RESOLUTION = {
    "0.weight": (64, 3, 5, 5),
    "2.weight": (32, 64, 3, 3),
    "4.weight": (12, 32, 3, 3),
}
DECODER = {"fc.weight": (2048, 128), "fc.bias": (2048,), "up.0.weight": (128, 64, 4, 4),
           "up.1.weight": (64, 3, 4, 4)}  # fmt: skip
UNET = {"down.0.weight": (16, 3, 3, 3), "down.1.weight": (32, 16, 3, 3), "up.0.weight": (32, 16, 2, 2),
        "up.1.weight": (16, 3, 2, 2)}  # fmt: skip
FROM_PICTURES = {"0.weight": (3, 8, 4, 4), "3.weight": (8, 3, 4, 4)}
ONE_LAYER = {"0.weight": (100, 3, 4, 4)}
WIDTHS_APART = {"0.weight": (100, 64, 4, 4), "3.weight": (32, 3, 4, 4)}
OBLONG = {"0.weight": (100, 64, 4, 3), "3.weight": (64, 3, 4, 4)}
OTHERS = {"convnet": CONVNET, "convnet without biases": {k: v for k, v in CONVNET.items() if "w" in k},
          "discriminator": DISCRIMINATOR, "super-resolution": SUPER_RESOLUTION, "decoder": DECODER,
          "u-net": UNET, "from pictures": FROM_PICTURES, "one layer": ONE_LAYER,
          "widths apart": WIDTHS_APART, "oblong": OBLONG}  # fmt: skip


@pytest.mark.parametrize("shapes", OTHERS.values(), ids=OTHERS)
def test_what_is_no_chain_from_a_latent_to_an_image_is_of_no_known_family(shapes, tmp_path):
    assert find_chain(shapes) is None
    torch.save({name: torch.ones(shape) for name, shape in shapes.items()}, tmp_path / "x.pt")
    with pytest.raises(UnknownGeneratorError) as caught:
        read_checkpoint(tmp_path / "x.pt")
    assert "tensors of no known family" in str(caught.value)
    assert f"{len(shapes)} in all" in str(caught.value)
    assert "factory generators" in str(caught.value)
    assert "`factory inspect` lists its tensors and prints a template" in str(caught.value)


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


NAMED = {"deconv1.weight": (100, 64, 4, 4), "deconv2.weight": (64, 32, 4, 4), **norm("bn1", 64),
         **norm("bn2", 32), "out.weight": (32, 3, 4, 4), "out.bias": (3,)}  # fmt: skip


def test_layers_outside_of_lists_find_their_normalisations_by_number():
    chain = find_chain(NAMED)
    assert [(link.name, link.norm) for link in chain] == [
        ("deconv1", "bn1"), ("deconv2", "bn2"), ("out", "")
    ]  # fmt: skip


def test_a_normalisation_that_belongs_to_no_layer_is_another_network():
    assert find_chain(NAMED | norm("bn9", 7)) is None
    assert find_chain(NAMED | {"bn1.gain": (64,)}) is None


def test_a_chain_of_other_kernels_needs_its_strides_and_paddings(tmp_path):
    shapes = NAMED | {"deconv2.weight": (64, 32, 5, 5)}
    tensors = {name: torch.rand(shape) for name, shape in shapes.items()}
    save_file(tensors, tmp_path / "x")
    with pytest.raises(UnknownGeneratorError, match=r"kernels of 4, 5, 4 taps.*setting `layers`"):
        read_checkpoint(tmp_path / "x")
    layers = [{"name": "deconv1", "stride": 1, "padding": 0}, {"name": "out", "stride": 2, "padding": 1},
              {"name": "deconv2", "stride": 2, "padding": 2}]  # fmt: skip
    layers = [layers[0], layers[2], layers[1]]
    kwargs = read_checkpoint(tmp_path / "x", settings={"layers": layers}).kwargs
    assert (kwargs["img_resolution"], kwargs["z_dim"]) == (14, 100)  # 4, (4-1)*2+5-4 = 7, 14
    assert [layer["norm"] for layer in kwargs["layers"]] == ["bn1", "bn2", ""]
    layers[0]["name"] = "deconv0"
    with pytest.raises(
        WeightsError, match="settings of the layers deconv0, deconv2, out for deconv1"
    ):
        read_checkpoint(tmp_path / "x", settings={"layers": layers})
    with pytest.raises(
        WeightsError, match=r"setting layers\.0\.stride is 0; input should be greater"
    ):
        read_checkpoint(tmp_path / "x", settings={"layers": [{**layers[0], "stride": 0}] * 2})


@pytest.mark.parametrize(("width", "spare"), [(108, 8), (110, 10), (138, 10), (74, 10)])
def test_an_unusual_width_of_the_first_layer_is_warned_of(width, spare, tmp_path):
    shapes = {"main.0.weight": (width, 16, 4, 4), "main.3.weight": (16, 3, 4, 4)}
    save_file({name: torch.rand(shape) for name, shape in shapes.items()}, tmp_path / "x")
    (warning,) = read_checkpoint(tmp_path / "x").warnings
    assert f"{width} inputs" in warning
    assert f"{{classes: {spare}}}" in warning
    labelled = read_checkpoint(tmp_path / "x", settings={"classes": spare})
    assert labelled.warnings == []
    assert (labelled.kwargs["classes"], labelled.kwargs["z_dim"]) == (spare, width - spare)
    with pytest.raises(WeightsError, match=f"classes {width} with {width} inputs"):
        read_checkpoint(tmp_path / "x", settings={"classes": width})


@pytest.mark.parametrize("width", [50, 62, 64, 100, 128, 200, 256, 512])
def test_a_usual_width_is_not_warned_of(width, tmp_path):
    shapes = {"main.0.weight": (width, 16, 4, 4), "main.3.weight": (16, 3, 4, 4)}
    save_file({name: torch.rand(shape) for name, shape in shapes.items()}, tmp_path / "x")
    assert read_checkpoint(tmp_path / "x").warnings == []


def test_files_that_earlier_versions_converted_keep_their_settings(tmp_path):
    from pathlib import Path

    weights = load_file(Path(__file__).parents[2] / "golden" / "parity" / "dcgan_64.safetensors")
    old = {"eps": 1e-3, "final_activation": "sigmoid"}
    save_file(weights, tmp_path / "x")
    kwargs = read_checkpoint(tmp_path / "x", settings=old).kwargs
    assert (kwargs["bn_eps"], kwargs["output_activation"]) == (1e-3, "sigmoid")

"""StyleGAN-XL and the settings that StyleGAN3 files may carry, held against plain formulas."""

import math

import pytest
import torch
from families import load_case, load_tensors, make_network

from factory.errors import WeightsError
from factory.generate.stylegan3.geometry import make_geometry

NAME = "sg3t_64_psi1"
CASES = [NAME, "sg3r_64_psi1"]


def given_kwargs(name: str) -> dict:
    """The settings of a case layer by layer, as those of a super-resolution file come."""
    case = load_case(name)
    layers = {
        layer["name"]: {
            "in_size": layer["in_size"],
            "out_size": [layer["out_size"], layer["out_size"]],
            "in_sampling_rate": layer["in_rate"],
            "out_sampling_rate": layer["out_rate"],
            "is_torgb": layer["torgb"],
        }
        for layer in case["layers"]
    }
    return {"layer_names": list(layers), "layers": layers, "input": case["input"]}


def images_of(network, classes=None, psi=1.0):
    z = torch.randn(3, network.mapping.z_dim, generator=torch.Generator().manual_seed(1))
    return network.synthesise(network.styles(z, classes, psi=psi))[0]


@pytest.mark.parametrize("name", CASES)
def test_the_plan_is_that_of_the_reference(name):
    case = load_case(name)
    geometry = make_geometry(case["kwargs"])
    assert geometry.input.size == case["input"]["size"][0]
    assert geometry.input.rate == case["input"]["sampling_rate"]
    assert geometry.input.bandwidth == case["input"]["bandwidth"]
    for layer, expected in zip(geometry.layers, case["layers"], strict=True):
        assert layer.name == expected["name"]
        assert (layer.up, layer.down) == (expected["up"], expected["down"])
        padding = layer.padding(expected["kernel"], expected["up_taps"], expected["down_taps"])
        assert [*padding, *padding] == expected["padding"]


def test_the_plan_of_the_published_1024_px_configuration_has_its_layer_names():
    names = [layer.name for layer in make_geometry({"img_resolution": 1024}).layers]
    assert names == [
        *("L0_36_512", "L1_36_512", "L2_52_512", "L3_52_512", "L4_84_512"),
        *("L5_148_512", "L6_148_512", "L7_276_323", "L8_276_203", "L9_532_128"),
        *("L10_1044_81", "L11_1044_51", "L12_1044_32", "L13_1024_32", "L14_1024_3"),
    ]


@pytest.mark.parametrize("name", CASES)
def test_layers_given_one_by_one_make_the_same_images(name):
    computed, given = make_network(name), make_network(name, kwargs=given_kwargs(name))
    assert torch.equal(images_of(computed), images_of(given))


def test_names_that_skip_a_number_follow_the_given_order():
    kwargs, tensors = given_kwargs(NAME), load_tensors(NAME)
    renamed = {"L4_84_20": "L14_84_20", "L8_64_3": "L18_64_3"}
    for old, new in renamed.items():
        kwargs["layer_names"][kwargs["layer_names"].index(old)] = new
        kwargs["layers"][new] = kwargs["layers"].pop(old)
        for key in [key for key in tensors if f".{old}." in key]:
            tensors[key.replace(old, new)] = tensors.pop(key)
    odd = make_network(NAME, tensors=tensors, kwargs={**kwargs, "num_ws": 10})
    assert torch.equal(images_of(odd), images_of(make_network(NAME)))


def test_a_wrong_number_of_style_rows_is_refused():
    with pytest.raises(WeightsError, match="num_ws is 16, but the 9 layers take 10"):
        make_network(NAME, kwargs={**given_kwargs(NAME), "num_ws": 16})


def test_missing_settings_are_refused():
    with pytest.raises(WeightsError, match="img_resolution"):
        make_network(NAME, kwargs={})
    kwargs = given_kwargs(NAME)
    del kwargs["layers"]["L3_52_24"]["in_size"]
    with pytest.raises(WeightsError, match="in_size"):
        make_network(NAME, kwargs=kwargs)


def test_a_layer_without_its_filter_is_refused():
    tensors = load_tensors(NAME)
    del tensors["synthesis.L3_52_24.up_filter"]
    with pytest.raises(WeightsError, match=r"'synthesis\.L3_52_24\.up_filter' is missing"):
        make_network(NAME, tensors=tensors)


def test_a_clamp_of_the_file_acts():
    kwargs = load_case(NAME)["kwargs"]
    clamped = make_network(NAME, kwargs={**kwargs, "conv_clamp": 0.5})
    assert images_of(clamped).abs().max() <= 0.5 * 0.25
    free = make_network(NAME, kwargs={**kwargs, "conv_clamp": None})
    assert torch.equal(images_of(free), images_of(make_network(NAME)))


def xl_tensors(*, num_classes=5, embedded=12):
    """A StyleGAN-XL: the synthesis of a StyleGAN3 behind a class embedding of seven rows."""
    tensors = load_tensors(NAME)
    random = torch.Generator().manual_seed(2)

    def normal(*shape):
        return torch.randn(*shape, generator=random)

    z_dim, w_dim = tensors["mapping.fc0.weight"].shape[::-1]
    tensors["mapping.embed.weight"] = normal(7, embedded)
    tensors["mapping.embed_proj.weight"] = normal(z_dim, embedded)
    tensors["mapping.embed_proj.bias"] = normal(z_dim)
    tensors["mapping.fc0.weight"] = normal(w_dim, 2 * z_dim) * 100
    tensors["mapping.w_avg"] = normal(num_classes, w_dim)
    return tensors


def test_stylegan_xl_maps_latents_and_classes_as_its_formulas_say():
    tensors, classes = xl_tensors(), torch.tensor([4, 0, 2])
    network = make_network(NAME, tensors=tensors)
    assert (network.mapping.num_classes, network.mapping.z_dim) == (5, 48)
    z = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))

    def norm(x):
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()

    def dense(x, name, rate):
        weight, bias = tensors[f"mapping.{name}.weight"], tensors[f"mapping.{name}.bias"]
        y = x @ weight.T * (rate / math.sqrt(x.shape[1])) + bias * rate
        return torch.where(y > 0, y, y * 0.2) * math.sqrt(2)

    code = dense(tensors["mapping.embed.weight"][classes], "embed_proj", 1.0)
    w = dense(torch.cat([norm(z), norm(code)], dim=1), "fc0", 0.01)
    w = dense(w, "fc1", 0.01)
    torch.testing.assert_close(network.mapping(z, classes), w, atol=1e-5, rtol=1e-5)


def test_stylegan_xl_truncates_towards_the_mean_of_the_class():
    tensors, classes = xl_tensors(), torch.tensor([4, 0, 2])
    network = make_network(NAME, tensors=tensors)
    z = torch.randn(3, 48)
    centre = network.styles(z, classes, psi=0.0, cutoff=4)
    expected = tensors["mapping.w_avg"][classes]
    torch.testing.assert_close(centre[:, :4], expected[:, None].expand(-1, 4, -1))
    assert torch.equal(centre[:, 4:], network.styles(z, classes)[:, 4:])


def test_stylegan_xl_without_classes_ignores_its_embedding():
    tensors = {**load_tensors(NAME), "mapping.embed.weight": torch.randn(7, 12)}
    network = make_network(NAME, tensors=tensors)
    assert network.mapping.num_classes == 0
    assert torch.equal(images_of(network), images_of(make_network(NAME)))


def test_conditional_stylegan3_embeds_labels_linearly():
    tensors, random = load_tensors(NAME), torch.Generator().manual_seed(2)
    tensors["mapping.embed.weight"] = torch.randn(48, 6, generator=random)
    tensors["mapping.embed.bias"] = torch.randn(48, generator=random)
    tensors["mapping.fc0.weight"] = torch.randn(48, 96, generator=random) * 100
    network = make_network(NAME, tensors=tensors)
    assert (network.mapping.num_classes, network.mapping.z_dim) == (6, 48)
    code = tensors["mapping.embed.weight"].T / math.sqrt(6) + tensors["mapping.embed.bias"]
    code = code / (code.square().mean(1, keepdim=True) + 1e-8).sqrt()
    torch.testing.assert_close(network.mapping._class_codes.float(), code, atol=1e-5, rtol=1e-5)

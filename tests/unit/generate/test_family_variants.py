"""Forms that checkpoints may take and the reference cases do not: equal where they must be."""

import pytest
import torch
from families import NETWORKS, load_arrays, load_case, load_tensors, make_network
from torch import Tensor

from factory.errors import JobError, WeightsError

BIGGAN, DCGAN = "biggan_aj_64", "dcgan_64"
PGGAN, STYLEGAN1 = "pggan_genforce_64", "stylegan1_genforce_64"
GROWN = [PGGAN, STYLEGAN1]


def images_of(network, *, z_dim=48, classes=None) -> Tensor:
    z = torch.randn(2, z_dim, generator=torch.Generator().manual_seed(1))
    if hasattr(network, "styles"):
        return network.synthesise(network.styles(z, classes), network.const_noise())[0]
    return network.synthesise(z, *(() if classes is None else (classes,)))[0]


def grown_to(name: str, lod: float) -> Tensor:
    tensors = load_tensors(name)
    tensors["lod" if name == PGGAN else "synthesis.lod"] = torch.tensor(lod)
    return images_of(make_network(name, tensors=tensors))


@pytest.mark.parametrize("name", GROWN)
def test_a_network_stopped_between_two_resolutions_blends_their_images(name):
    coarse, fine, between = (grown_to(name, lod) for lod in (2.0, 1.0, 1.25))
    torch.testing.assert_close(between, 0.75 * fine + 0.25 * coarse, atol=1e-5, rtol=0)
    assert not torch.equal(fine, grown_to(name, 0.0))
    blocks = fine.unfold(2, 2, 2).unfold(3, 2, 2)  # each pixel of 32 px repeated in 64 px
    assert torch.equal(blocks, blocks[..., :1, :1].expand_as(blocks))


@pytest.mark.parametrize("name", GROWN)
def test_a_level_of_detail_beyond_the_first_resolution_is_refused(name):
    with pytest.raises(WeightsError, match=r"found 4\.5; a network of 5 resolutions"):
        grown_to(name, 4.5)


@pytest.mark.parametrize("name", GROWN)
def test_upsampling_inside_the_convolution_is_repeating_pixels_with_the_kernel_flipped(name):
    tensors, fused = load_tensors(name), load_tensors(name)
    prefix = "" if name == PGGAN else "synthesis."
    for position in (2, 4, 6, 8):
        key = f"{prefix}layer{position}.weight"
        flipped = tensors[key].flip(2, 3)
        fused[key] = flipped.transpose(0, 1).contiguous() if name == PGGAN else flipped
    kwargs = load_case(name)["kwargs"]
    plain = make_network(name, kwargs={**kwargs, "fused_scale": False})
    inside = make_network(name, tensors=fused, kwargs={**kwargs, "fused_scale": True})
    torch.testing.assert_close(images_of(inside), images_of(plain), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", GROWN)
def test_weights_that_were_not_scaled_in_training_are_used_as_they_are(name):
    tensors = load_tensors(name)
    for key, weight in tensors.items():
        if not key.endswith("weight") or weight.ndim == 1:
            continue
        base = 1.0 if "output" in key or "style" in key else 2**0.5
        tensors[key] = weight * (base / weight[0].numel() ** 0.5)
    kwargs = {**load_case(name)["kwargs"], "use_wscale": False}
    unscaled = make_network(name, tensors=tensors, kwargs=kwargs)
    torch.testing.assert_close(
        images_of(unscaled), images_of(make_network(name)), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", GROWN)
def test_a_final_tanh_bounds_the_image(name):
    kwargs = {**load_case(name)["kwargs"], "final_tanh": True}
    bounded = images_of(make_network(name, kwargs=kwargs))
    torch.testing.assert_close(bounded, torch.tanh(images_of(make_network(name))))


def test_pggan_labels_enter_beside_the_normalised_latent():
    tensors, classes = load_tensors(PGGAN), torch.tensor([0, 2])
    extra = torch.zeros(32, 3, 4, 4)
    tensors["layer0.weight"] = torch.cat([tensors["layer0.weight"], extra], dim=1)
    kwargs = {**load_case(PGGAN)["kwargs"], "label_size": 3}
    network = make_network(PGGAN, tensors=tensors, kwargs=kwargs)
    assert (network.z_dim, network.num_classes) == (48, 3)
    # the labels' weights are zero, so they act only through the second normalisation and fan-in
    plain = make_network(PGGAN)
    z = torch.randn(2, 48, generator=torch.Generator().manual_seed(1))
    _, labelled = network.synthesise(z, classes, ["layer0"])
    _, unlabelled = plain.synthesise(z, None, ["layer0"])
    assert labelled["layer0"].shape == unlabelled["layer0"].shape
    shrunk = (48 / 51) ** 0.5 / (49 / 51) ** 0.5  # fan-in, then one more unit of second moment
    bias = tensors["layer0.bias"][:, None, None]
    linear = {
        key: torch.where(maps > 0, maps, maps / 0.2) - bias
        for key, maps in (("with", labelled["layer0"]), ("without", unlabelled["layer0"]))
    }
    torch.testing.assert_close(linear["with"], linear["without"] * shrunk, atol=1e-4, rtol=1e-4)


def test_stylegan1_labels_are_embedded_and_double_the_input():
    tensors, random = load_tensors(STYLEGAN1), torch.Generator().manual_seed(3)
    tensors["mapping.label_weight"] = torch.randn(5, 48, generator=random)
    tensors["mapping.dense0.weight"] = torch.randn(48, 96, generator=random) * 100
    network = make_network(STYLEGAN1, tensors=tensors)
    assert (network.mapping.num_classes, network.mapping.z_dim) == (5, 48)
    first, second = (images_of(network, classes=torch.tensor([i, i])) for i in (0, 4))
    assert not torch.equal(first, second)


def test_stylegan1_may_start_from_w_instead_of_a_constant():
    tensors = load_tensors(STYLEGAN1)
    del tensors["synthesis.layer0.const"]
    tensors["synthesis.layer0.weight"] = torch.randn(24, 40, 4, 4)
    network = make_network(STYLEGAN1, tensors=tensors)
    assert images_of(network).isfinite().all()


def moved_statistics(tensors: dict[str, Tensor], count: float) -> dict[str, Tensor]:
    """Standing statistics as the original's own batch normalisation saves them: sums and a count."""
    moved = {}
    for key, tensor in tensors.items():
        name, _, last = key.rpartition(".")
        if last in {"stored_mean", "stored_var"}:
            moved[f"{name}.bn.{last}"] = tensor * count
            moved[f"{name}.bn.accumulation_counter"] = torch.tensor(count)
        else:
            moved[key] = tensor
    return moved


def test_biggan_standing_statistics_are_divided_by_their_count():
    classes = torch.tensor([3, 8])
    plain = images_of(make_network(BIGGAN), z_dim=20, classes=classes)
    standing = make_network(BIGGAN, tensors=moved_statistics(load_tensors(BIGGAN), 4.0))
    torch.testing.assert_close(images_of(standing, z_dim=20, classes=classes), plain)


def flat_biggan() -> dict[str, Tensor]:
    """The reference BigGAN without hierarchical latents and without spectral norm of its gains."""
    tensors = {}
    for key, tensor in load_tensors(BIGGAN).items():
        if ".gain." in key or (".bias." in key and ".bn" in key):
            if key.endswith("weight"):
                tensors[key] = tensor[:, :16] * 0.1
        else:
            tensors[key] = tensor
    return tensors


def test_biggan_embeddings_per_layer_equal_a_shared_one_multiplied_out():
    shared, classes = flat_biggan(), torch.tensor([3, 8])
    table = shared["shared.weight"]
    unshared = {
        key: (table @ tensor.T).contiguous()
        if key.endswith((".gain.weight", ".bias.weight"))
        else tensor
        for key, tensor in shared.items()
        if key != "shared.weight"
    }
    networks = [make_network(BIGGAN, tensors=tensors) for tensors in (shared, unshared)]
    assert [(net.num_classes, net.z_dim) for net in networks] == [(10, 4), (10, 4)]
    images = [images_of(net, z_dim=4, classes=classes) for net in networks]
    torch.testing.assert_close(*images, atol=1e-5, rtol=0)


def test_biggan_shapes_that_fit_no_form_are_refused():
    tensors = load_tensors(BIGGAN)
    tensors["linear.weight"] = torch.randn(2048, 7)
    with pytest.raises(WeightsError, match="the first layer takes 7 numbers and the blocks 20"):
        make_network(BIGGAN, tensors=tensors)


def test_biggan_deep_of_hugging_face_needs_its_config():
    with pytest.raises(WeightsError, match=r"layers is missing; it is in the config\.json"):
        make_network("biggan_deep_hf_64_t04", kwargs={})


def dcgan_layers(**changed: object) -> list[dict]:
    """The usual layout, said layer by layer."""
    usual = {"kind": "conv_transpose", "stride": 2, "padding": 1}
    layers = [{"name": f"main.{3 * position}", **usual} for position in range(5)]
    layers[0] |= {"stride": 1, "padding": 0}
    layers[2] |= changed
    return layers


def test_dcgan_layers_given_one_by_one_make_the_same_images():
    usual = make_network("dcgan_64")
    given = make_network("dcgan_64", kwargs={"layers": dcgan_layers(), "img_resolution": 64})
    assert torch.equal(images_of(usual, z_dim=32), images_of(given, z_dim=32))


def test_dcgan_plain_convolutions_and_other_names_are_read():
    tensors = {key.replace("main.", "net."): value for key, value in load_tensors(DCGAN).items()}
    tensors["net.6.weight"] = torch.randn(8, 16, 3, 3)
    layers = dcgan_layers(kind="conv", stride=1)
    for layer in layers:
        layer["name"] = layer["name"].replace("main.", "net.")
    network = make_network(DCGAN, tensors=tensors, kwargs={"layers": layers})
    assert network.sides == [4, 8, 8, 16, 32]
    z = torch.randn(2, 32)
    images, features = network.synthesise(z, None, ["net.5", "net.8"])
    assert tuple(images.shape) == (2, 3, 32, 32)
    expected = torch.nn.functional.conv2d(features["net.5"], tensors["net.6.weight"], padding=1)
    expected = torch.nn.functional.batch_norm(
        expected,
        *(tensors[f"net.7.{part}"] for part in ("running_mean", "running_var", "weight", "bias")),
    )
    torch.testing.assert_close(features["net.8"], expected.relu(), atol=1e-4, rtol=1e-4)


def test_dcgan_hidden_activations_may_leak():
    network = make_network(DCGAN, kwargs={"hidden_activation": "leaky_relu"})
    z = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    _, leaking = network.synthesise(z, None, ["main.2"])
    _, plain = make_network(DCGAN).synthesise(z, None, ["main.2"])
    assert leaking["main.2"].min() < 0
    assert torch.equal(leaking["main.2"].relu(), plain["main.2"])


def test_dcgan_kernels_of_another_size_need_their_strides():
    tensors = load_tensors(DCGAN)
    tensors["main.3.weight"] = torch.randn(32, 16, 5, 5)
    with pytest.raises(WeightsError, match=r"kernels of \[4, 5, 4, 4, 4\] taps"):
        make_network(DCGAN, tensors=tensors)
    with pytest.raises(WeightsError, match="not in a checkpoint: look them up"):
        make_network(DCGAN, kwargs={"layers": dcgan_layers(stride=None)})
    with pytest.raises(WeightsError, match="img_resolution is 64 and classes 0, but the"):
        make_network(DCGAN, kwargs={"layers": dcgan_layers(stride=4), "img_resolution": 64})


def test_dcgan_layers_outside_of_a_list_have_their_own_names():
    tensors, layers = load_tensors(DCGAN), dcgan_layers()
    usual = make_network(DCGAN, tensors=dict(tensors))
    for position, layer in enumerate(layers):
        for key in [key for key in tensors if key.startswith(f"{layer['name']}.")]:
            tensors[key.replace(layer["name"], f"deconv{position}")] = tensors.pop(key)
        norm = f"main.{3 * position + 1}"
        for key in [key for key in tensors if key.startswith(f"{norm}.")]:
            tensors[key.replace(norm, f"bn{position}")] = tensors.pop(key)
        layer |= {"name": f"deconv{position}", "norm": f"bn{position}" if position < 4 else ""}
    network = make_network(DCGAN, tensors=tensors, kwargs={"layers": layers})
    z = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    images, features = network.synthesise(z, None, ["deconv2"])
    expected, maps = usual.synthesise(z, None, ["main.8"])
    assert torch.equal(images, expected)
    assert torch.equal(features["deconv2"], maps["main.8"])


def test_dcgan_labels_are_the_last_inputs():
    tensors = load_tensors(DCGAN)
    labelled = torch.randn(3, *tensors["main.0.weight"].shape[1:])
    plain = make_network(DCGAN)
    z = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    tensors["main.0.weight"] = torch.cat([tensors["main.0.weight"], labelled])
    network = make_network(DCGAN, tensors=tensors, kwargs={"classes": 3})
    assert (network.z_dim, network.num_classes, plain.z_dim) == (32, 3, 32)
    whole = make_network(DCGAN, tensors=tensors, kwargs={})
    one_hot = torch.nn.functional.one_hot(torch.tensor([2, 0]), 3).float()
    images, _ = network.synthesise(z, torch.tensor([2, 0]))
    assert torch.equal(images, whole.synthesise(torch.cat([z, one_hot], dim=1))[0])
    with pytest.raises(WeightsError, match=r"and classes 35, but the layers .* from 35 inputs"):
        make_network(DCGAN, tensors=tensors, kwargs={"classes": 35})


def test_stylegan1_without_a_mean_w_refuses_truncation():
    tensors = load_tensors(STYLEGAN1)
    del tensors["truncation.w_avg"]
    network = make_network(STYLEGAN1, tensors=tensors)
    assert torch.equal(images_of(network), images_of(make_network(STYLEGAN1)))
    with pytest.raises(JobError, match="these weights hold no mean w"):
        network.styles(torch.randn(1, 48), None, psi=0.7)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_knows_its_resolution(name):
    assert make_network(name).resolution == load_arrays(name)["image"].shape[2]

"""Every family reproduces the images and feature maps of the code its checkpoints come from."""

import pytest
import torch
from families import CASES, NETWORKS, STYLEGAN3, classes_of, load_arrays, load_case, make_network

IMAGE_TOLERANCE = 1e-4
FEATURE_TOLERANCE = {True: 2e-4, False: 1e-4}
"""StyleGAN3's maps are larger than the others'."""


def _our_name(reference_name: str) -> str:
    """Reference maps of BigGAN end in the class of the module they left."""
    stem, _, last = reference_name.rpartition(".")
    return stem if last in {"GenBlock", "SelfAttn", "GBlock", "Attention"} else reference_name


@pytest.mark.parametrize("name", CASES)
def test_images_and_feature_maps_are_those_of_the_reference(name):
    arrays, case = load_arrays(name), load_case(name)
    expected = {
        key.removeprefix("feat/"): value
        for key, value in arrays.items()
        if key.startswith("feat/") and not key.startswith("feat/output")
    }
    wanted = [_our_name(key) for key in expected]
    images, features = CASES[name].synthesise(
        make_network(name), torch.from_numpy(arrays["z"]), classes_of(arrays), case, wanted
    )
    assert images.dtype == torch.float32
    torch.testing.assert_close(
        images, torch.from_numpy(arrays["image"]), atol=IMAGE_TOLERANCE, rtol=0
    )
    assert len(features) == len(expected)
    tolerance = FEATURE_TOLERANCE[CASES[name] is STYLEGAN3]
    for key, value in expected.items():
        torch.testing.assert_close(
            features[_our_name(key)], torch.from_numpy(value), atol=tolerance, rtol=0
        )


@pytest.mark.parametrize("name", [n for n in CASES if "sg3" in n or "stylegan1" in n])
def test_style_rows_are_those_of_the_reference(name):
    arrays, case = load_arrays(name), load_case(name)
    psi = case.get("trunc_psi", case.get("truncation_psi", 1.0))
    ws = make_network(name).styles(
        torch.from_numpy(arrays["z"]), None, psi=psi, cutoff=case.get("trunc_layers")
    )
    expected = torch.from_numpy(arrays["ws" if "ws" in arrays else "wp"])
    torch.testing.assert_close(ws, expected, atol=1e-5, rtol=0)


def _inputs(name, count):
    network, arrays = make_network(name), load_arrays(name)
    generator = torch.Generator().manual_seed(7)
    z = torch.randn(count, arrays["z"].shape[1], generator=generator)
    classes = None
    if classes_of(arrays) is not None:
        classes = torch.arange(count) % network.num_classes
    return network, z, classes


@pytest.mark.parametrize("name", NETWORKS)
def test_a_sample_does_not_depend_on_its_neighbours(name):
    network, z, classes = _inputs(name, 4)
    ask, case = CASES[name].synthesise, load_case(name)
    together, _ = ask(network, z, classes, case)
    alone = [
        ask(network, z[i : i + 1], None if classes is None else classes[i : i + 1], case)[0]
        for i in range(4)
    ]
    # Random weights make images several times brighter than -1 to 1, and rounding grows with them.
    tolerance = 1e-5 * max(1.0, float(together.abs().max()))
    torch.testing.assert_close(together, torch.cat(alone), atol=tolerance, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)], ids=str
)
def test_lower_precision_stays_close_to_float32(name, dtype, tolerance):
    network, z, classes = _inputs(name, 2)
    ask, case = CASES[name].synthesise, load_case(name)
    exact, _ = ask(network, z, classes, case)
    images, _ = ask(make_network(name, dtype=dtype), z, classes, case)
    assert images.dtype == torch.float32
    error = (images - exact).square().mean().sqrt() / exact.std()
    assert error < tolerance

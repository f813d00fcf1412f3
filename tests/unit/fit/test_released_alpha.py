"""Released alpha networks on a generator of this package: taken whole, or refused."""

import argparse
from pathlib import Path

import pytest
import torch
from contract.test_generators import draw
from small_job import small_job

from factory.checkpoint.alpha_network import arrange
from factory.errors import JobError
from factory.fit.alpha.released import name_tensors
from factory.fit.fitted import fit_segmenter
from factory.generate.base import load_generator
from factory.generate.weights.find import find_weights
from factory.segment.alpha.network import AlphaNetwork, find_levels, levels_of
from factory.segment.base import generate_and_segment, load_segmenter
from unit.checkpoint.test_alpha_network import small_state

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parents[2] / "golden"
SIXTY_FOUR = {
    "kind": "stylegan2",
    "weights": str(GOLDEN / "parity" / "sg2ada_u64_psi1.safetensors"),
}


def released(path, channels):
    """A training's file as the authors' program writes it, for feature maps of `channels`."""
    state = small_state(len(channels))
    for place, width in enumerate(channels):
        for one in (0, 1):
            state[f"conv_fns{one}.{place}.weight"] = torch.randn(3, width, 1, 1)
    content = {"bg_extractor_ema": state, "args": argparse.Namespace(size=64), "g": {}}
    torch.save(content, path)
    return state


def fit(folder, file):
    section = {"kind": "alpha", "network": str(file), "threshold": 0.5}
    overrides = {"dataset.segmenter": section, "dataset.generator": SIXTY_FOUR}
    dataset = small_job(folder, overrides).dataset
    weights = find_weights(dataset.generator)
    data = fit_segmenter(dataset, weights, device=CPU, on_progress=lambda *_: None)
    return dataset, weights, data


def widths(folder):
    generator = load_generator(
        small_job(folder, {"dataset.generator": SIXTY_FOUR}).dataset.generator,
        Path(SIXTY_FOUR["weights"]),
        device=CPU,
    )
    levels = find_levels(generator.facts)
    assert [level[0] for level in levels] == [f"b{side}.conv0" for side in (8, 16, 32, 64)]
    return [generator.facts.layers[level[0]].channels for level in levels]


def test_a_released_network_makes_the_masks_that_its_own_formula_makes(tmp_path):
    state = released(tmp_path / "550000.pt", widths(tmp_path))
    dataset, weights, data = fit(tmp_path, tmp_path / "550000.pt")
    path = tmp_path / "it.safetensors"
    path.write_bytes(data)
    generator = load_generator(dataset.generator, weights.path, device=CPU)
    segmenter = load_segmenter(dataset.segmenter, path, generator.facts, CPU)
    with torch.inference_mode():
        batch, found = generate_and_segment(generator, segmenter, draw(generator, range(2)))
        levels = find_levels(generator.facts)
        alpha = AlphaNetwork(levels, name_tensors(arrange(state, "it"), levels))(batch.features)
    torch.testing.assert_close(found.alpha, alpha)
    assert torch.equal(found.masks.bool(), alpha > 0.5)
    assert len(found.masks.unique()) == 2


def test_a_network_of_another_generator_is_refused_with_both_lists_of_channels(tmp_path):
    released(tmp_path / "other.pt", [7, 7, 7, 7])
    with pytest.raises(JobError) as caught:
        fit(tmp_path, tmp_path / "other.pt")
    text = str(caught.value)
    assert text.startswith("dataset.segmenter.network: ")
    assert "feature maps of 7, 7, 7, 7, 7, 7, 7, 7 channels" in text
    assert text.endswith("use it on the generator that it was trained on")


def test_levels_follow_from_the_tensors_and_damaged_ones_are_no_network():
    levels = (("a",), ("b", "c"), ("d",))
    shapes = {"map/a": (6, 4), "map/b": (3, 5), "map/c": (3, 4), "map/d": (6, 2)}
    shapes |= {"merge/1": (6, 12), "last": (1, 6)}
    tensors = {}
    for name, shape in shapes.items():
        tensors |= {f"{name}.weight": torch.zeros(shape), f"{name}.bias": torch.zeros(shape[0])}
    assert levels_of("abcd", tensors) == levels
    with pytest.raises(ValueError, match="not the tensors of an alpha network"):
        levels_of("abcd", tensors | {"last.bias": torch.zeros(2)})
    with pytest.raises(KeyError):
        levels_of("abxd", tensors)

"""StyleGAN1 and PGGAN show their settings in shapes; the rest is given, or assumed and told."""

import pytest
import torch
from families import load_case, load_tensors

from factory.checkpoint.families.early_gans import kwargs_of_pggan, kwargs_of_stylegan1
from factory.checkpoint.families.state_dict import StateDict
from factory.errors import WeightsError


def state(name, **changed):
    return StateDict("x.pt", load_tensors(name) | changed)


def test_a_stylegan_shows_what_its_reference_was_made_with():
    wanted = load_case("stylegan1_genforce_64")["kwargs"]
    found, assumptions = kwargs_of_stylegan1(state("stylegan1_genforce_64"), {})
    shared = wanted.keys() & found.keys() - {"fused_scale"}
    assert len(shared) >= 5
    assert {key: found[key] for key in shared} == {key: wanted[key] for key in shared}
    assert found["num_layers"] == 10
    assert assumptions == [
        "fused_scale auto, mapping_lr_mul 0.01, use_wscale True, final_tanh False: a state dict does "
        "not say"
    ]


def test_a_label_is_told_from_the_latent_by_its_own_weights():
    dense = load_tensors("stylegan1_genforce_64")["mapping.dense0.weight"]
    z_dim = dense.shape[1] // 2
    label = {"mapping.label_weight": torch.zeros(5, z_dim)}
    found, _ = kwargs_of_stylegan1(state("stylegan1_genforce_64", **label), {})
    assert (found["label_size"], found["z_space_dim"]) == (5, z_dim)


def test_a_pggan_shows_its_size_and_whether_upsampling_is_fused():
    wanted = load_case("pggan_genforce_64")["kwargs"]
    found, assumptions, warnings = kwargs_of_pggan(state("pggan_genforce_64"), {})
    assert found["resolution"] == 64
    assert found["image_channels"] == 3
    assert found["fused_scale"] == wanted.get("fused_scale", found["fused_scale"])
    assert assumptions[-1].startswith("no class labels")
    assert "48 inputs" in warnings[0], "a width that latents rarely have"


def test_fused_layers_store_inputs_before_outputs():
    name = "pggan_genforce_64"
    tensors = load_tensors(name)
    plain = kwargs_of_pggan(state(name), {})[0]["fused_scale"]
    number = next(
        number
        for number in range(2, 100, 2)
        if tensors[f"layer{number}.weight"].shape[0] != tensors[f"layer{number}.weight"].shape[1]
    )
    turned = tensors[f"layer{number}.weight"].transpose(0, 1).contiguous()
    swapped = kwargs_of_pggan(state(name, **{f"layer{number}.weight": turned}), {})[0]
    assert swapped["fused_scale"] is not plain


def test_a_given_number_of_classes_is_taken_off_the_latent():
    plain, _, _ = kwargs_of_pggan(state("pggan_genforce_64"), {})
    found, assumptions, _ = kwargs_of_pggan(state("pggan_genforce_64"), {"label_size": 3})
    assert found["z_space_dim"] == plain["z_space_dim"] - 3
    assert not any("class labels" in line for line in assumptions)


def test_the_level_of_detail_is_read_where_training_stopped():
    lod = {"lod": torch.tensor(1.25), "synthesis.lod": torch.tensor(0.5)}
    assert kwargs_of_pggan(state("pggan_genforce_64", **lod), {})[0]["lod"] == 1.25
    assert kwargs_of_stylegan1(state("stylegan1_genforce_64", **lod), {})[0]["lod"] == 0.5


def test_what_the_tensors_contradict_is_refused():
    with pytest.raises(WeightsError, match="resolution 128 in the settings, 64 in the tensors"):
        kwargs_of_stylegan1(state("stylegan1_genforce_64"), {"resolution": 128})
    with pytest.raises(WeightsError, match="z_space_dim 7 in the settings"):
        kwargs_of_pggan(state("pggan_genforce_64"), {"z_space_dim": 7})

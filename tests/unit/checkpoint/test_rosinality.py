"""rosinality's names are NVIDIA's again, tensor by tensor, and its one mean style is found."""

from pathlib import Path

import pytest
import torch
from layouts import as_rosinality
from safetensors.torch import load_file

from factory.checkpoint.families.rosinality import map_rosinality
from factory.checkpoint.families.state_dict import StateDict
from factory.checkpoint.families.stylegan2 import default_filter
from factory.errors import WeightsError

OURS = load_file(Path(__file__).parents[2] / "golden" / "parity" / "sg2ada_u64_psi1.safetensors")


def mapped(tensors, extras=None, given=None):
    return map_rosinality(StateDict("x.pt", dict(tensors), extras or {}), given or {})


def test_every_tensor_gets_its_name_and_value_back():
    found, kwargs, assumptions = mapped(as_rosinality(OURS), {"latent_avg": OURS["mapping.w_avg"]})
    assert found.keys() == OURS.keys()
    for name, tensor in OURS.items():
        assert torch.allclose(found[name], tensor, atol=1e-6), name
    assert kwargs["synthesis_kwargs"]["architecture"] == "skip"
    assert assumptions == []


def test_settings_of_a_job_win_over_the_programs():
    _, kwargs, _ = mapped(as_rosinality(OURS), given={"mapping_kwargs": {"lr_multiplier": 1}})
    assert kwargs["mapping_kwargs"] == {"lr_multiplier": 1}


def test_a_mean_style_per_row_counts_once_and_rows_that_differ_by_their_mean():
    centre = OURS["mapping.w_avg"]
    found, _, assumptions = mapped(as_rosinality(OURS), {"latent_avg": centre.repeat(10, 1)})
    assert torch.equal(found["mapping.w_avg"], centre)
    assert assumptions == []
    rows = torch.stack([centre, centre + 2])
    found, _, assumptions = mapped(as_rosinality(OURS), {"latent_avg": rows})
    assert torch.allclose(found["mapping.w_avg"], centre + 1)
    assert assumptions == [
        "latent_avg has 2 rows that differ: their mean is taken as the mean style"
    ]


def test_kernels_that_a_file_leaves_out_are_the_default():
    tensors = {name: t for name, t in as_rosinality(OURS).items() if not name.endswith("kernel")}
    found, _, _ = mapped(tensors)
    filters = [name for name in found if name.endswith("resample_filter")]
    assert all(torch.equal(found[name], default_filter()) for name in filters)


def test_a_tensor_that_is_missing_or_left_over_is_named():
    whole = as_rosinality(OURS)
    with pytest.raises(WeightsError, match=r"convs\.0\.conv\.modulation\.bias"):
        mapped({k: t for k, t in whole.items() if k != "convs.0.conv.modulation.bias"})
    with pytest.raises(WeightsError, match="stranger"):
        mapped(whole | {"stranger": torch.ones(1)})

"""StyleGAN1 and PGGAN state dicts: settings inferred from shapes, and assumptions.

Sources: Karras et al. 2019 (StyleGAN), Karras et al. 2018 (progressive growing). The layout is
genforce's. Names are kept.
"""

from typing import Any

from factory.checkpoint.families.settings import check_stated, width_warnings
from factory.checkpoint.families.state_dict import StateDict

_SCALING = {"use_wscale": True, "final_tanh": False}
_STYLEGAN1 = {"fused_scale": "auto", "mapping_lr_mul": 0.01, **_SCALING}


def kwargs_of_stylegan1(
    state: StateDict, given: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Settings of a genforce StyleGAN, and the assumptions made.

    Raises:
        WeightsError: If tensors are missing, or differ from what `given` states.
    """
    depth = state.count("mapping.dense{}.weight")
    num_layers = state.count("synthesis.layer{}.bias")
    label_size = 0
    if "mapping.label_weight" in state.tensors:
        label_size = state.shape("mapping.label_weight")[0]
    inputs = state.shape("mapping.dense0.weight")[1]
    z_dim = state.shape("mapping.label_weight")[1] if label_size else inputs
    kwargs = {
        "resolution": 2 << (num_layers // 2),
        "z_space_dim": z_dim,
        "w_space_dim": state.shape(f"mapping.dense{depth - 1}.weight")[0],
        "label_size": label_size,
        "mapping_layers": depth,
        "mapping_fmaps": state.shape("mapping.dense0.weight")[0],
        "image_channels": state.shape(f"synthesis.output{num_layers // 2 - 1}.weight")[0],
        "num_layers": num_layers,
        "lod": _lod(state, "synthesis.lod"),
        "has_w_avg": "truncation.w_avg" in state.tensors,
    }
    check_stated(state.file, given, kwargs)
    return kwargs | _chosen(given, _STYLEGAN1), _unsaid(given, _STYLEGAN1)


def kwargs_of_pggan(
    state: StateDict, given: dict[str, Any]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Settings of a genforce PGGAN, the assumptions made, and warnings.

    Raises:
        WeightsError: If tensors are missing, or differ from what `given` states.
    """
    num_outputs = state.count("output{}.weight")
    inputs, label_size = state.shape("layer0.weight")[1], given.get("label_size") or 0
    defaults = {"fused_scale": _is_fused(state), **_SCALING}
    kwargs = {
        "resolution": 2 << num_outputs,
        "z_space_dim": inputs - label_size,
        "label_size": label_size,
        "image_channels": state.shape("output0.weight")[0],
        "num_layers": state.count("layer{}.weight"),
        "lod": _lod(state, "lod"),
    }
    check_stated(state.file, given, kwargs)
    assumptions = _unsaid(given, defaults)
    if "label_size" not in given:
        assumptions.append("no class labels: a state dict does not tell labels from latents")
    warnings = width_warnings(inputs - label_size, "label_size")
    return kwargs | _chosen(given, defaults), assumptions, warnings


def _chosen(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {
        key: default if given.get(key) is None else given[key] for key, default in defaults.items()
    }


def _unsaid(given: dict[str, Any], defaults: dict[str, Any]) -> list[str]:
    """The assumed values of settings that were not given, in one sentence."""
    unsaid = [f"{key} {value}" for key, value in defaults.items() if given.get(key) is None]
    return [f"{', '.join(unsaid)}: a state dict does not say"] if unsaid else []


def _is_fused(state: StateDict) -> bool:
    """Whether upsampling is fused: such layers store [in, out], visible where the width changes."""
    for number in range(2, state.count("layer{}.weight"), 2):
        before = state.shape(f"layer{number - 1}.bias")[0]
        first, second = state.shape(f"layer{number}.weight")[:2]
        if first != second:
            return first == before
    return False


def _lod(state: StateDict, name: str) -> float:
    return float(state.tensors[name]) if name in state.tensors else 0.0

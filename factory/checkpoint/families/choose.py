"""Identify the family of a set of tensors and convert it to a `Checkpoint`."""

import json
from typing import Any

from torch import Tensor

from factory.checkpoint.base import FAMILIES, Checkpoint, Family
from factory.checkpoint.families import biggan, early_gans, stylegan2, stylegan3, stylegan3_shapes
from factory.checkpoint.families.rosinality import map_rosinality
from factory.checkpoint.families.settings import check_settings
from factory.checkpoint.families.state_dict import StateDict, without_prefixes
from factory.checkpoint.families.tensorflow import is_tensorflow, map_tensorflow, source_of
from factory.checkpoint.pickles.modules import ModuleTree, source_digest, walk_modules
from factory.checkpoint.pickles.nodes import PersistentObject
from factory.checkpoint.pickles.source import Budget, refuse, shown
from factory.identity import canonical_json

_NVIDIA_NOTE = (
    "the file carries Python source text, which was neither run nor copied; NVIDIA's and StyleGAN-XL's "
    "published weights may be used for non-commercial purposes only, see their licences"
)
_NO_AVERAGE = "the file has no averaged generator (G_ema): the one in training is used"
_TRAINED_KEYS = ("g", "G", "generator")
_MARKS: tuple[tuple[Family, set[str]], ...] = (
    ("stylegan2", {"mapping.fc0.weight", "synthesis.b4.const"}),
    ("stylegan_xl", {"mapping.fc0.weight", "synthesis.input.freqs", "mapping.embed_proj.weight"}),
    ("stylegan3", {"mapping.fc0.weight", "synthesis.input.freqs"}),
    ("stylegan2", {"style.1.weight", "convs.0.conv.modulation.weight"}),
    ("biggan_deep_hf", {"generator.gen_z.weight_orig"}),
    ("biggan_ajbrock", {"blocks.0.0.conv1.weight", "linear.weight"}),
    ("stylegan1", {"mapping.dense0.weight", "synthesis.layer0.const"}),
    ("pggan", {"layer0.weight", "output0.weight"}),
)
"""Tensor names that only one family has; the first match wins."""


def from_pickle(found: object, budget: Budget) -> Checkpoint:
    """Build the checkpoint of a network pickle.

    Raises:
        WeightsError: If there is no generator in it.
    """
    if is_tensorflow(found) and isinstance(found, tuple):
        tensors, given, notes = map_tensorflow(found, budget)
        source = source_of(found)
        digest, length = source_digest(PersistentObject("", source, {})) if source else ("", 0)
        return _stylegan2(
            Checkpoint("stylegan2", "tensorflow-pkl", tensors, given, [], digest, length, notes),
            budget.file,
        )
    assumptions = []
    root: object = found
    if isinstance(found, dict):
        root = found.get("G_ema")
        if root is None:
            root = found.get("G")
            assumptions.append(_NO_AVERAGE)
    if not isinstance(root, PersistentObject):
        keys = (
            ", ".join(shown(key, 20) for key in list(found)[:8]) if isinstance(found, dict) else ""
        )
        refuse(
            budget.file, f"a pickled {type(found).__name__} ({keys}) without a generator network",
            "NVIDIA's pickles hold one under 'G_ema'", "give a network pickle or a state dict",
        )  # fmt: skip
    return _of_tree(walk_modules(root, budget), root, assumptions)


def _of_tree(tree: ModuleTree, root: PersistentObject, assumptions: list[str]) -> Checkpoint:
    digest, length = source_digest(root)
    notes = [_NVIDIA_NOTE]
    if len(tree.sources) > 1:
        notes.append(
            f"its modules carry {len(tree.sources)} different sources; the hash is the first's"
        )
    family = find_family(tree.file, tree.tensors)
    if "mapping.embed" in tree.modules and tree.modules["mapping.embed"].class_name == "Embedding":
        family = "stylegan_xl"
    if family == "stylegan2":
        kwargs, layout = stylegan2.kwargs_of_tree(tree)
    elif family in ("stylegan3", "stylegan_xl"):
        kwargs = stylegan3.kwargs_of_tree(tree)
        layout = "nvidia-pkl (StyleGAN3 repository)"
        layout = "stylegan-xl-pkl" if family == "stylegan_xl" else layout
    else:
        refuse(tree.file, f"a pickled {shown(root.class_name)} with tensors of {family}",
               "StyleGAN2, StyleGAN3 and StyleGAN-XL are pickled so", "give a state dict")  # fmt: skip
    checkpoint = Checkpoint(
        family, layout, tree.tensors, kwargs, assumptions, digest, length, notes
    )
    if family == "stylegan2":
        stylegan2.check_tensors(tree.file, tree.tensors, check_settings(tree.file, family, kwargs))
        return checkpoint
    stylegan3_shapes.check_tensors(
        tree.file, tree.tensors, check_settings(tree.file, family, kwargs)
    )
    return checkpoint


def from_state_dict(state: StateDict, layout: str, settings: dict[str, Any]) -> Checkpoint:
    """Build the checkpoint of a state dict that torch.save wrote.

    Raises:
        WeightsError: If it belongs to no known family, or is incomplete.
    """
    route = ".".join(state.route)
    layout = f"{layout} ({route})" if route else f"{layout} (bare state dict)"
    assumptions = [_NO_AVERAGE] if state.route and state.route[-1] in _TRAINED_KEYS else []
    return _of_state(state, layout, settings, assumptions)


def from_tensors(
    file: str, tensors: dict[str, Tensor], metadata: dict[str, str], settings: dict[str, Any]
) -> Checkpoint:
    """Build the checkpoint of a safetensors file; one written by us is restored unchanged.

    Raises:
        WeightsError: If it belongs to no known family, or is incomplete.
    """
    kwargs = _metadata_json(file, metadata, "kwargs", {})
    kwargs = kwargs or _metadata_json(file, metadata, "config", {})
    family = next((known for known in FAMILIES if known == metadata.get("family")), None)
    notes = _metadata_json(file, metadata, "notes", [])
    stated = {
        "source_sha256": metadata.get("source_sha256", ""),
        "source_length": _metadata_json(file, metadata, "source_length", 0),
        "license": metadata.get("license", ""),
        "attribution": metadata.get("attribution", ""),
        "class_names": _metadata_json(file, metadata, "class_names", []),
    }
    if family is not None and "layout" in metadata and kwargs and not settings:
        assumptions = _metadata_json(file, metadata, "assumptions", [])
        if family == "stylegan2":
            stylegan2.check_tensors(file, tensors, check_settings(file, family, kwargs))
        return Checkpoint(
            family, metadata["layout"], tensors, kwargs, assumptions, notes=notes, **stated
        )
    state = StateDict(file, without_prefixes(tensors))
    found = _of_state(state, "safetensors", settings or kwargs, [])
    return Checkpoint(
        found.family, found.layout, found.tensors, found.kwargs, found.assumptions,
        notes=[*found.notes, *notes], **stated,
    )  # fmt: skip


def _of_state(
    state: StateDict, layout: str, settings: dict[str, Any], assumptions: list[str]
) -> Checkpoint:
    family = find_family(state.file, state.tensors)
    tensors = state.tensors
    if family == "stylegan2":
        more: list[str] = []
        given = settings
        if "style.1.weight" in tensors:
            layout = f"rosinality, {layout}"
            tensors, given, more = map_rosinality(state)
        made = Checkpoint(family, layout, tensors, given, [*assumptions, *more])
        return _stylegan2(made, state.file)
    if family in ("stylegan3", "stylegan_xl"):
        kwargs, more = stylegan3.kwargs_of_tensors(state.file, tensors, settings)
        stylegan3_shapes.check_tensors(
            state.file, tensors, check_settings(state.file, family, kwargs)
        )
    elif family == "biggan_deep_hf":
        kwargs, more = biggan.kwargs_of_hf(state, settings)
    elif family == "biggan_ajbrock":
        kwargs, more = biggan.kwargs_of_ajbrock(state)
    elif family == "stylegan1":
        kwargs, more = early_gans.kwargs_of_stylegan1(state)
    elif family == "pggan":
        kwargs, more = early_gans.kwargs_of_pggan(state)
    else:
        kwargs, more = early_gans.kwargs_of_dcgan(state)
    check_settings(state.file, family, kwargs)
    return Checkpoint(family, layout, tensors, kwargs, [*assumptions, *more])


def _stylegan2(made: Checkpoint, file: str) -> Checkpoint:
    """Complete `made` with settings and tensors inferred from shapes, and validate the whole."""
    tensors = dict(made.tensors)
    kwargs, assumed = stylegan2.kwargs_of_tensors(file, tensors, made.kwargs)
    kwargs = check_settings(file, "stylegan2", kwargs)
    completed = stylegan2.add_filters(tensors)
    completed += stylegan2.add_mean_style(file, tensors, kwargs)
    return Checkpoint(
        made.family, made.layout, tensors, kwargs, [*made.assumptions, *assumed, *completed],
        made.source_sha256, made.source_length, made.notes,
    )  # fmt: skip


def _has_convolution(tensors: dict[str, Tensor]) -> bool:
    return any(name.endswith(".weight") and tensor.ndim == 4 for name, tensor in tensors.items())


def find_family(file: str, tensors: dict[str, Tensor]) -> Family:
    """Identify the family of `tensors` by characteristic names.

    Raises:
        WeightsError: If no family matches.
    """
    family: Family | None = None
    for candidate, marks in _MARKS:
        if tensors.keys() >= marks:
            family = candidate
            break
    if family is None and _has_convolution(tensors):
        family = "dcgan"
    if family is None:
        names = ", ".join(shown(name, 60) for name in list(tensors)[:4])
        refuse(file, f"tensors of no known family ({names})", "known: " + ", ".join(FAMILIES),
               "ask for support of this generator, or write a plugin")  # fmt: skip
    return family


def _metadata_json(file: str, metadata: dict[str, str], key: str, default: Any) -> Any:  # noqa: ANN401 - JSON
    text = metadata.get(key, "")
    try:
        found = json.loads(text) if text else default
        canonical_json(found)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, type(default)):
        refuse(file, f"metadata {key!r} is not the JSON {type(default).__name__} it should be",
               "safetensors metadata holds settings as JSON", "write the file again")  # fmt: skip
    return found

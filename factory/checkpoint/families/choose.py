"""Build the checkpoint of a file's content: find the generator, name its tensors, state its settings."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from torch import Tensor

from factory.checkpoint.base import FAMILIES, Checkpoint, Family
from factory.checkpoint.families import (
    biggan,
    dcgan,
    early_gans,
    stylegan2,
    stylegan3,
    stylegan3_shapes,
)
from factory.checkpoint.families.containers import Containers, Group, Route, find_containers
from factory.checkpoint.families.genforce import map_genforce
from factory.checkpoint.families.marks import find_generators
from factory.checkpoint.families.rosinality import map_rosinality
from factory.checkpoint.families.search import NO_AVERAGE, Choice, choose_generator
from factory.checkpoint.families.settings import (
    check_given,
    check_settings,
    check_stated,
    note_ignored,
)
from factory.checkpoint.families.tensorflow import is_tensorflow, map_tensorflow, source_of
from factory.checkpoint.pickles.modules import ModuleTree, source_digest, walk_modules
from factory.checkpoint.pickles.nodes import PersistentObject
from factory.checkpoint.pickles.source import Budget, refuse, shown
from factory.identity import canonical_json

_NVIDIA_NOTE = (
    "the file carries Python source text, which was neither run nor copied; NVIDIA's and StyleGAN-XL's "
    "published weights may be used for non-commercial purposes only, see their licences"
)
_NETWORK_KEYS = ("G_ema", "G")
_OTHER_NETWORKS = ("D", "augment_pipe")


def from_object(
    found: object,
    budget: Budget,
    layout: str,
    given: dict[str, Any],
    find_config: Callable[[], dict[str, Any]],
) -> Checkpoint:
    """Build the checkpoint of what a pickle or a torch.save file holds.

    Args:
        found: The content of the file.
        budget: Limits that reading its tensors counts against.
        layout: What its format is called.
        given: Settings of a job or config.
        find_config: Reads the config.json beside the file, which a Hugging Face BigGAN needs.

    Raises:
        WeightsError: If there is no generator in it, or it contradicts `given`.
    """
    if is_tensorflow(found) and isinstance(found, tuple):
        return _of_tensorflow(found, budget, given)
    containers = find_containers(found, budget)
    if containers.networks:
        return _of_network(containers, budget, given)
    choice = choose_generator(containers, budget)
    if choice.generator.family == "biggan_deep_hf":
        given = {**find_config(), **given}
    route = ".".join(choice.path)
    return _of_choice(choice, f"{layout} ({route or 'bare state dict'})", given)


def from_tensors(
    file: str, tensors: dict[str, Tensor], metadata: dict[str, str], given: dict[str, Any]
) -> Checkpoint:
    """Build the checkpoint of a safetensors file; one written by us is restored unchanged.

    Raises:
        WeightsError: If it belongs to no known family, is incomplete, or contradicts `given`.
    """
    kwargs = _metadata_json(file, metadata, "kwargs", {})
    kwargs = kwargs or _metadata_json(file, metadata, "config", {})
    family = next((known for known in FAMILIES if known == metadata.get("family")), None)
    notes = _metadata_json(file, metadata, "notes", [])
    warnings = _metadata_json(file, metadata, "warnings", [])
    stated = {
        "source_sha256": metadata.get("source_sha256", ""),
        "source_length": _metadata_json(file, metadata, "source_length", 0),
        "license": metadata.get("license", ""),
        "attribution": metadata.get("attribution", ""),
        "class_names": _metadata_json(file, metadata, "class_names", []),
    }
    if family is not None and "layout" in metadata and kwargs and not given:
        assumptions = _metadata_json(file, metadata, "assumptions", [])
        if family == "stylegan2":
            stylegan2.check_tensors(file, tensors, check_settings(file, family, kwargs))
        return Checkpoint(
            family, metadata["layout"], tensors, kwargs, assumptions, notes=notes, warnings=warnings,
            **stated,
        )  # fmt: skip
    budget = Budget(file, tensor_bytes=0)
    choice = choose_generator(Containers(groups=[Group((), dict(tensors))]), budget)
    route = ".".join(choice.path)
    layout = metadata.get("layout") or (f"safetensors ({route})" if route else "safetensors")
    made = _of_choice(choice, layout, {**kwargs, **given})
    return Checkpoint(
        made.family, made.layout, made.tensors, made.kwargs, made.assumptions,
        notes=[*made.notes, *(note for note in notes if note not in made.notes)],
        warnings=made.warnings, **stated,
    )  # fmt: skip


def _of_tensorflow(found: tuple[Any, ...], budget: Budget, given: dict[str, Any]) -> Checkpoint:
    tensors, kwargs, notes = map_tensorflow(found, budget)
    source = source_of(found)
    digest, length = source_digest(PersistentObject("", source, {})) if source else ("", 0)
    made = _stylegan2(
        Checkpoint("stylegan2", "tensorflow-pkl", tensors, kwargs, [], digest, length, notes),
        budget.file,
    )
    return _checked_against(made, given, budget.file)


def _of_network(containers: Containers, budget: Budget, given: dict[str, Any]) -> Checkpoint:
    """The network that was pickled whole: `G_ema`, else `G`, else the last of a tuple, else the only."""
    generators = [
        (route, network)
        for route, network in containers.networks
        if not (route and route[-1] in _OTHER_NETWORKS)
    ] or containers.networks
    by_key = {route[-1]: network for route, network in reversed(generators) if route}
    key = next((key for key in _NETWORK_KEYS if key in by_key), None)
    assumptions = [NO_AVERAGE] if key == "G" else []
    if key is None:
        route, network = generators[-1]
        if len(generators) > 1:
            assumptions.append(f"the last of {len(generators)} networks is the averaged generator")
        elif _is_alone(route):
            assumptions.append(
                "the file holds one network, and does not say whether it is averaged"
            )
    else:
        network = by_key[key]
    made = _of_tree(walk_modules(network, budget), network, assumptions)
    return _checked_against(made, given, budget.file)


def _is_alone(route: Route) -> bool:
    return not route or route[-1].isdecimal()


def _checked_against(made: Checkpoint, given: dict[str, Any], file: str) -> Checkpoint:
    """Settings cannot change a network that states all of its own; they are compared."""
    mapping, synthesis = made.kwargs["mapping_kwargs"], made.kwargs["synthesis_kwargs"]
    layers = made.kwargs.get("layers", {})
    clamp = next((layer["conv_clamp"] for layer in layers.values()), synthesis.get("conv_clamp"))
    flat = {
        **synthesis,
        **made.kwargs,
        "conv_clamp": clamp,
        "lr_multiplier": mapping["lr_multiplier"],
    }
    scalars = {key: value for key, value in flat.items() if not isinstance(value, dict | list)}
    check_stated(file, given, scalars)
    return made


def _of_tree(tree: ModuleTree, root: PersistentObject, assumptions: list[str]) -> Checkpoint:
    digest, length = source_digest(root)
    notes = [_NVIDIA_NOTE]
    if len(tree.sources) > 1:
        notes.append(
            f"its modules carry {len(tree.sources)} different sources; the hash is the first's"
        )
    family = _family_of_tree(tree, root)
    if family == "stylegan2":
        kwargs, layout = stylegan2.kwargs_of_tree(tree)
    else:
        kwargs = stylegan3.kwargs_of_tree(tree)
        layout = "nvidia-pkl (StyleGAN3 repository)"
        layout = "stylegan-xl-pkl" if family == "stylegan_xl" else layout
    checkpoint = Checkpoint(
        family, layout, tree.tensors, kwargs, assumptions, digest, length, notes
    )
    check_settings(tree.file, family, kwargs)
    check = stylegan2.check_tensors if family == "stylegan2" else stylegan3_shapes.check_tensors
    check(tree.file, tree.tensors, kwargs)
    return checkpoint


def _family_of_tree(tree: ModuleTree, root: PersistentObject) -> Family:
    shapes = {name: tuple(tensor.shape) for name, tensor in tree.tensors.items()}
    found = [generator for generator in find_generators(shapes) if not generator.prefix]
    family = found[0].family if found else None
    if "mapping.embed" in tree.modules and tree.modules["mapping.embed"].class_name == "Embedding":
        family = "stylegan_xl"
    if family not in ("stylegan2", "stylegan3", "stylegan_xl"):
        names = ", ".join(shown(name, 60) for name in list(tree.tensors)[:4])
        refuse(tree.file, f"a pickled {shown(root.class_name)} with tensors of "
               f"{family or 'no known family'} ({names})",
               "StyleGAN2, StyleGAN3 and StyleGAN-XL are pickled so", "give a state dict")  # fmt: skip
    return family


def _of_choice(choice: Choice, layout: str, given: dict[str, Any]) -> Checkpoint:
    state, family, program = choice.state, choice.generator.family, choice.generator.program
    assumptions, notes, warnings = [*choice.assumptions], [*choice.notes], [*choice.warnings]
    tensors = state.tensors
    if family == "dcgan":
        given = dcgan.renamed(given)
    given = check_given(state.file, family, given)
    if family == "stylegan2":
        if program:
            layout = f"{program}, {layout}"
            translate = map_rosinality if program == "rosinality" else map_genforce
            tensors, given, more = translate(state, given)
            assumptions += more
        made = Checkpoint(family, layout, tensors, given, assumptions, warnings=warnings)
        made = _stylegan2(made, state.file)
        return dataclasses.replace(made, notes=[*notes, *note_ignored(given, _known(made.kwargs))])
    if family in ("stylegan3", "stylegan_xl"):
        kwargs, more = stylegan3.kwargs_of_tensors(state.file, tensors, given)
        check_settings(state.file, family, kwargs)
        stylegan3_shapes.check_tensors(state.file, tensors, kwargs)
    elif family == "biggan_deep_hf":
        kwargs, more = biggan.kwargs_of_hf(state, given)
    elif family == "biggan_ajbrock":
        kwargs, more = biggan.kwargs_of_ajbrock(state, given)
    elif family == "stylegan1":
        kwargs, more = early_gans.kwargs_of_stylegan1(state, given)
    elif family == "pggan":
        kwargs, more, doubts = early_gans.kwargs_of_pggan(state, given)
        warnings += doubts
    else:
        kwargs, more, doubts = dcgan.kwargs_of_dcgan(state, given)
        warnings += doubts
    check_settings(state.file, family, kwargs)
    notes += note_ignored(given, _known(kwargs))
    return Checkpoint(
        family, layout, tensors, kwargs, [*assumptions, *more], notes=notes, warnings=warnings
    )


def _known(kwargs: dict[str, Any]) -> set[str]:
    """The names of the settings that were read, nested ones too."""
    nested = [value for value in kwargs.values() if isinstance(value, dict)]
    return {"lr_multiplier", "conv_clamp", *kwargs, *(key for inner in nested for key in inner)}


def _stylegan2(made: Checkpoint, file: str) -> Checkpoint:
    """Complete `made` with settings and tensors inferred from shapes, and validate the whole."""
    tensors = dict(made.tensors)
    kwargs, assumed = stylegan2.kwargs_of_tensors(file, tensors, made.kwargs)
    kwargs = check_settings(file, "stylegan2", kwargs)
    completed = stylegan2.add_filters(tensors)
    completed += stylegan2.add_mean_style(file, tensors, kwargs)
    assumptions = [*made.assumptions, *assumed, *completed]
    return dataclasses.replace(made, tensors=tensors, kwargs=kwargs, assumptions=assumptions)


_JSON_KINDS = {dict: "object", list: "list of texts", int: "whole number"}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _metadata_json(file: str, metadata: dict[str, str], key: str, default: Any) -> Any:  # noqa: ANN401 - JSON
    text = metadata.get(key, "")
    try:
        found = json.loads(text) if text else default
        canonical_json(found)
    except (ValueError, RecursionError):
        found = None
    is_list = isinstance(found, list)
    if not isinstance(found, type(default)) or (is_list and not all(map(_is_text, found))):
        refuse(file, f"metadata {key!r} is not the JSON {_JSON_KINDS[type(default)]} it should be",
               "safetensors metadata holds settings as JSON", "write the file again")  # fmt: skip
    return found

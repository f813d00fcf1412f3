"""Write a first job for a weights file: settings that fit it, with a comment on each choice."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from factory.errors import JobError, WeightsError
from factory.generate import SHIPPED
from factory.generate.base import GeneratorFacts
from factory.generate.inspect import Inspection, inspect_with_facts
from factory.generate.weights.fetch import fetch_weights, ignore_bytes
from factory.run.estimate import estimate_job
from factory.segment.serving import find_serving_methods
from factory.spec import GeneratorSpec, JobSpec
from factory.spec.anchor import anchor_paths
from factory.spec.fit import FitSpec
from factory.spec.methods import METHODS
from factory.spec.segmenters import settings_class, summarise
from factory.spec.shipped import SHIPPED_PREFIX
from factory.spec.yaml_text import parse_yaml
from factory.store.single_file import replace_file

LONGEST_FIT_S = 600
"""A first fit takes at most about so long: it is made of fewer images where it would take longer."""

_FEWEST_IMAGES = 32
_MOST_NAMED = 6
_LONGEST_NAME = 40


@dataclass(frozen=True, slots=True)
class FirstJob:
    """What a first job does, and what is expected of it on this machine."""

    method: str
    """The segmenting method that it uses."""
    family: str
    resolution_px: int
    fit_s: float | None
    """Seconds of the fit; None = unknown."""
    pairs_s: float | None
    """Seconds of the pairs; None = unknown."""


def write_first_job(weights: str, output: Path) -> FirstJob:
    """Write a job for `weights` to the new file `output`.

    Args:
        weights: A weights file of any supported format, or `shipped:NAME`.
        output: The job's file; the paths in it are relative to its folder.

    Raises:
        WeightsError: If it is not a complete checkpoint of a known family, or none of our methods works
            on the generator.
        JobError: If `weights` is an address, or `output` exists or cannot be written.
    """
    if output.exists():
        raise JobError(where=str(output), found="exists", remedy="give another path with -o")
    folder, path = output.parent, _local_file(weights)
    found, facts = inspect_with_facts(path)
    method = _choose_method(facts)
    is_shipped = weights.startswith(SHIPPED_PREFIX)
    name = weights.removeprefix(SHIPPED_PREFIX) if is_shipped else path.stem
    written = weights if is_shipped else _relative(path, folder)
    outline = _Outline(_name_of(name), written, method, found, facts)
    text = outline.text(fit=None)
    fit_s, pairs_s = _seconds(text, folder)
    default = _default_fit(method)
    if fit_s is not None and fit_s > LONGEST_FIT_S and default is not None:
        fewer = max(_FEWEST_IMAGES, int(default.num_images * LONGEST_FIT_S / fit_s))
        fit_s *= fewer / default.num_images  # measuring once more would take minutes here
        text = outline.text(default.model_copy(update={"num_images": fewer}))
    replace_file(output, text.encode())
    return FirstJob(method, found.family, found.resolution, fit_s, pairs_s)


def _local_file(weights: str) -> Path:
    if "://" in weights:
        raise JobError(
            where="WEIGHTS",
            found=f"found the address {weights}",
            allowed=f"a file, or {', '.join('shipped:' + name for name in SHIPPED)}",
            remedy="download it first; the job may then name the address, with its sha256",
        )
    return fetch_weights(GeneratorSpec(kind="any", weights=weights), ignore_bytes)


def _choose_method(facts: GeneratorFacts) -> str:
    """The method to begin with: one whose classes a person can name, or one that needs no files."""
    serving = find_serving_methods(facts)
    ranked = sorted(
        serving, key=lambda name: (not METHODS[name].has_tree, len(METHODS[name].files))
    )
    if not ranked:
        raise WeightsError("none of our methods works on this generator; write a plugin for it")
    return ranked[0]


def _relative(path: Path, folder: Path) -> str:
    """`path` as a job in `folder` names it: relative if it lies below, so that both can be moved."""
    try:
        return str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        return str(path.resolve())


def _name_of(name: str) -> str:
    """A dataset's name from a file's: lower case, without what a shard's name may not have."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_-")
    return plain[:_LONGEST_NAME] or "pairs"


def _seconds(text: str, folder: Path) -> tuple[float | None, float | None]:
    """Seconds of the fit and of the pairs, measured here; None where they are unknown."""
    document = parse_yaml(text)
    anchor_paths(document, JobSpec, folder)
    estimate = estimate_job(document)
    left, fit = estimate.seconds_left, estimate.fit_s
    return fit, None if left is None else left - (fit or 0)


def _default_fit(method: str) -> FitSpec | None:
    """The data that the method is fitted on by default; None if it is not told by images."""
    field = settings_class(method).model_fields.get("fit")
    default = field.get_default(call_default_factory=True) if field else None
    return default if isinstance(default, FitSpec) else None


@dataclass(frozen=True, slots=True)
class _Outline:
    """What a first job is made of."""

    name: str
    weights: str
    method: str
    found: Inspection
    facts: GeneratorFacts

    def text(self, fit: FitSpec | None) -> str:
        """The job file, with the data of the fit if they are not the method's default."""
        return "\n".join(
            [
                *self._head(),
                f"name: {self.name}",
                "dataset:",
                "  num_samples: 1000  # raise it and run again: the dataset grows",
                "  samples_per_shard: 125  # as many shards as a training has loader workers, or more",
                "  generator:",
                f"    kind: {self.found.family}",
                f"    weights: {json.dumps(self.weights)}",
                *(f"    # assumed: {' '.join(one.split())}" for one in self.found.assumptions),
                "  latents:",
                *self._latents(),
                "  segmenter:",
                *self._segmenter(fit),
                "run:",
                "  executor: inline  # threads of this process; leave it out to use Ray",
                "output:",
                f"  uri: out/{self.name}  # a folder, or s3://bucket/prefix",
                "",
            ]
        )

    def _head(self) -> list[str]:
        side, layers = self.found.resolution, len(self.found.layers)
        return [
            f"# {self.found.family}, {side} x {side} px, {layers} feature maps.",
            "#   factory plan JOB       what will be made, and how long it takes",
            "#   factory run JOB        make it; run it again to resume",
            "#   factory explain NAME   what a setting means, e.g. dataset.latents",
        ]

    def _latents(self) -> list[str]:
        psi = "0.7" if self.facts.styles else "1.0"
        lines = [f"    truncation_psi: {psi}  # 1 = full variety; less = fewer broken images"]
        count = self.facts.num_classes
        classes = [*self.facts.class_names, *range(count)][: min(count, _MOST_NAMED)]
        if classes:
            lines.append(
                f"    # classes: {json.dumps(classes)}  # of {count}; leave it out for all"
            )
        return lines

    def _segmenter(self, fit: FitSpec | None) -> list[str]:
        lines = [f"    kind: {self.method}  # {summarise(self.method)}"]
        if fit is not None:
            data = f"num_images: {fit.num_images}, pixels_per_image: {fit.pixels_per_image}"
            lines.append(
                f"    fit: {{{data}}}  # fewer images than by default: a fit takes long here"
            )
        if METHODS[self.method].has_tree:
            lines.append(
                "    cut: auto  # or the number of classes; `factory label JOB` names them"
            )
        others = [name for name in find_serving_methods(self.facts) if name != self.method]
        if others:
            lines.append(f"    # these work on it too: {', '.join(others)} (`factory segmenters`)")
        return lines

"""Read, write and check a labels file: names, colours and groups of the nodes of a merge tree.

Its content is `LabelsSpec` in `factory/spec/labels.py`.
"""

from pathlib import Path

from factory.errors import JobError, SettingProblem
from factory.manifest.labels import MaskClass
from factory.segment.tree.hierarchy import Hierarchy
from factory.spec.check import check_settings, error_of_settings
from factory.spec.labels import LabelsSpec
from factory.spec.yaml_file import load_yaml
from factory.spec.yaml_text import dump_yaml

LABELS_SETTING = "dataset.segmenter.labels"
"""The name, in errors, of labels that are written in a job."""


def read_labels_file(path: Path) -> LabelsSpec:
    """Read the labels in the YAML file at `path`; `check_labels` compares them with a tree.

    Raises:
        JobError: If it cannot be read or breaks a rule; the message holds one line per problem.
    """
    document = load_yaml(path, noun="labels file", keys="tree, labels")
    return check_settings(LabelsSpec, document, source=str(path))


def encode_labels_file(labels: LabelsSpec) -> bytes:
    """Encode as YAML, one line per class; `read_labels_file` returns equal labels."""
    lines = [
        "# Names of clusters. A label's position is its mask value, from 0.",
        f"tree: {dump_yaml(labels.tree, on_one_line=True)}",
        "labels:",
        *(
            f"- {dump_yaml(label.model_dump(mode='json'), on_one_line=True)}"
            for label in labels.labels
        ),
    ]
    if labels.reviews:
        lines.append("reviews:")
        for review in labels.reviews:
            text = dump_yaml(review.model_dump(mode="json", exclude_none=True), on_one_line=True)
            lines.append(f"- {text}")
    return ("\n".join(lines) + "\n").encode()


def check_labels(labels: LabelsSpec, tree: Hierarchy, *, source: str = LABELS_SETTING) -> None:
    """Require that the labels' nodes are nodes of `tree` and hold every cluster once.

    Raises:
        JobError: If not; the message holds one line per problem. `source` names the labels in it.
    """
    if labels.tree != tree.digest():
        raise JobError(
            f"{source}.tree: found {labels.tree}, the merge tree here is {tree.digest()}: these names "
            "are for another fit; run `factory label` again"
        )
    problems = _problems(labels, tree)
    if problems:
        raise error_of_settings(source, problems)


def class_labels(labels: LabelsSpec) -> tuple[MaskClass, ...]:
    """The classes of the masks, in order."""
    return tuple(
        MaskClass(id=position, name=label.name, colour=_rgb(label.colour))
        for position, label in enumerate(labels.labels)
    )


def _problems(labels: LabelsSpec, tree: Hierarchy) -> list[SettingProblem]:
    problems = []
    owners: dict[int, str] = {}
    for position, label in enumerate(labels.labels):
        path = f"labels.{position}.nodes"
        for node in label.nodes:
            if node >= tree.num_nodes:
                allowed = f"this tree has nodes 0 to {tree.num_nodes - 1}"
                problems.append(SettingProblem(path, "node", f"found node {node}", allowed))
                continue
            taken = sorted(leaf for leaf in tree.leaves(node) if leaf in owners)
            if taken:
                found = (
                    f"node {node} of {label.name!r} holds cluster {taken[0]}, which "
                    f"{owners[taken[0]]!r} holds already"
                )
                allowed = "a cluster has one class"
                problems.append(SettingProblem(path, "node", found, allowed))
            owners |= dict.fromkeys(tree.leaves(node), label.name)
    missing = sorted(set(range(tree.num_leaves)) - owners.keys())
    if missing:
        found = f"no class holds cluster {', '.join(map(str, missing))}"
        problems.append(SettingProblem("labels", "node", found, "every cluster needs one"))
    return problems


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue

"""`label --review` without a page: a network goes over the names in a labels file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from factory.cli.shared import say
from factory.errors import JobError

if TYPE_CHECKING:
    from torch import Tensor

    from factory.evaluate.reference import ImageInput
    from factory.label.labels_file import LabelsFile
    from factory.label.material import LabelMaterial
    from factory.label.model_review import NodeReview, Predict
    from factory.spec.labels import Verdict

_OPTION = "--model"
_NAMES = "--model-names"


def check_options(who: str, model: Path | None, of_model: Sequence[str]) -> None:
    """Require that options of a review come with those that they need.

    Args:
        who: The reviewer; empty without a review.
        model: The file that reviews, if one does.
        of_model: The options given that say something about the model.

    Raises:
        JobError: If one is missing.
    """
    if model is not None and not who:
        raise JobError(
            f"{_OPTION}: found {model} and no reviewer; a model goes over names that another has "
            "given: add --review WHO, what the model is to be called"
        )
    if model is None and of_model:
        raise JobError(
            f"{of_model[0]}: found without {_OPTION}; it is about a model that reviews: add {_OPTION} "
            "FILE, or leave it out"
        )


def check_reviewer(who: str, labels: Path) -> None:
    """Require a reviewer with a name that labels files take, and names to review.

    Raises:
        JobError: If one is missing.
    """
    from factory.spec.labels import ClassName

    try:
        TypeAdapter(ClassName).validate_python(who)
    except ValidationError as error:
        raise JobError(
            f"--review: found {who!r}; give the name of the reviewer (a model's too): words of letters, "
            "digits and _ - + . / ( )"
        ) from error
    if not labels.exists():
        raise JobError(f"--review: no file {labels}; name the classes first: factory label")


def check_names(written: str, labels: Path) -> list[list[str]]:
    """The names of a model's classes, several for one that it takes for the same.

    Raises:
        JobError: If there are fewer than two, one is not in the labels file, or is given to one class
            twice.
    """
    from factory.segment.tree.labels_file import read_labels_file

    known = [label.name for label in read_labels_file(labels).labels]
    has = f"{labels} has {', '.join(known)}"
    names = [[name.strip() for name in part.split("|")] for part in written.split(",")]
    if len(names) < 2:
        raise JobError(
            f"{_NAMES}: found {written!r}; give the name of each of the model's classes, in the order "
            f"of their ids, with commas between them (ground|shadow if one class is both); {has}"
        )
    strange = [name for part in names for name in part if name not in known]
    if strange:
        raise JobError(
            f"{_NAMES}: found {_quoted(strange)}; {has}; give a class that the labels do not have the "
            "name that its pixels have there"
        )
    twice = [name for part in names for name in part if part.count(name) > 1]
    if twice:
        raise JobError(
            f"{_NAMES}: found {_quoted(twice)} twice in one class; leave one of them out"
        )
    return names


def _quoted(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in dict.fromkeys(names))


def open_model(path: Path, images: "ImageInput", num_names: int) -> "Predict":
    """Open a segmenter that reviews names.

    Args:
        path: The file.
        images: The images that it takes.
        num_names: How many of its classes have names.

    Returns:
        What it sees in an image. Raises a `JobError` if it has other classes than those with names,
        and a `PluginError` if it fails.

    Raises:
        JobError: If there is no such file.
        PluginError: If it cannot be loaded.
    """
    import numpy as np

    from factory.data import IGNORE
    from factory.evaluate.reference import ScoredSample
    from factory.evaluate.reference_network import NetworkReference, load_network

    if not path.exists():
        raise JobError(f"{_OPTION}: no file {path}; give a TorchScript (.pt) or ONNX (.onnx) file")
    load = load_network(path, _OPTION)

    def run(pixels: "Tensor") -> "Tensor":
        output = load(pixels)
        if output.ndim == 4 and output.is_floating_point() and output.shape[1] != num_names:
            raise _miscounted(path, num_names, f"has {output.shape[1]} classes")
        return output

    network = NetworkReference(path.name, run, images, _OPTION)

    def predict(index: int, image: np.ndarray) -> np.ndarray:
        sample = ScoredSample(f"{index}", np.zeros(image.shape[:2], np.uint8), image)
        mask = network.masks([sample])[0]
        assert mask is not None, "a network has a mask of every image"
        strange = mask[(mask >= num_names) & (mask != IGNORE)]
        if strange.size:
            raise _miscounted(path, num_names, f"sees class {strange.max()} in image {index}")
        return mask

    return predict


def _miscounted(path: Path, num_names: int, found: str) -> JobError:
    return JobError(
        f"{_NAMES}: found {num_names} names, and {path.name} {found}; give the name of each of its "
        "classes, in the order of their ids from 0"
    )


def review_with_model(
    draw: Callable[[], "LabelMaterial"],
    labels_file: Path,
    who: str,
    model: Path,
    model_names: str,
    images: "ImageInput",
) -> dict[str, Any]:
    """Let a model go over all named nodes, and add its verdicts to the file; returns what it says.

    `draw` is called once the model and the names are known to be good.

    Raises:
        JobError: If the names are not those of the model's classes, the labels are for another tree,
            or the file was changed meanwhile.
        PluginError: If the model cannot be loaded, or what it returns is no segmentation.
    """
    from factory.label.labels_file import LabelsFile
    from factory.label.model_review import review_nodes
    from factory.label.survey import NUM_SURVEYED
    from factory.segment.tree.labels_file import check_labels, read_labels_file

    names = check_names(model_names, labels_file)
    predict = open_model(model, images, len(names))
    material = draw()
    file = LabelsFile(labels_file, material.tree)
    seen = file.load()["seen"]
    labels = read_labels_file(file.path)
    check_labels(labels, material.tree, source=str(file.path))
    reviews = review_nodes(material.renderer, labels, predict, names, NUM_SURVEYED)
    known = {name for part in names for name in part}
    verdicts = [verdict for review in reviews if (verdict := review.verdict()) is not None]
    if verdicts:
        _save(file, verdicts, who=who, seen=seen)
    return {
        "labels": str(file.path),
        "reviewer": who,
        "nodes": [_facts(review) for review in reviews],
        "disputed": sum(verdict.verdict == "disputed" for verdict in verdicts),
        "verdicts": len(verdicts),
        "unknown": [label.name for label in labels.labels if label.name not in known],
    }


def _facts(review: "NodeReview") -> dict[str, Any]:
    return {
        "node": review.node,
        "named": review.given,
        "sees": review.seen,
        "share": round(review.share, 4),
        "is_disputed": review.seen not in {"", review.given},
    }


def tell_review(answer: dict[str, Any]) -> None:
    """Print what a model says of the nodes."""
    nodes = answer["nodes"]
    width = max(len("named"), *(len(node["named"]) for node in nodes)) + 2
    say(f"{'node':>5}  {'named':<{width}}the model sees")
    for node in nodes:
        mark = "  disputed" if node["is_disputed"] else ""
        what = f"{node['sees']} at {node['share']:.0%}" if node["sees"] else "too few pixels"
        say(f"{node['node']:>5}  {node['named']:<{width}}{what}{mark}")
    if answer["unknown"]:
        unknown = ", ".join(answer["unknown"])
        say(f"the model has no class for {unknown}: it cannot confirm nodes of that name")
    if not answer["verdicts"]:
        say(f"the model says nothing about these nodes; {answer['labels']} is unchanged")
        return
    told = f"{answer['disputed']} of {len(nodes)} nodes disputed"
    say(f"{told}; the verdicts of {answer['reviewer']} are in {answer['labels']}")


def _save(file: "LabelsFile", verdicts: Sequence["Verdict"], *, who: str, seen: str) -> None:
    from factory.label.labels_file import ReviewRequest

    if file.review(ReviewRequest(verdicts=list(verdicts), seen=seen), who=who) is None:
        raise JobError(f"{file.path}: was changed meanwhile; run the review again")

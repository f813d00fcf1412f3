"""`label --review` without a page: a network goes over the names in a labels file."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from factory.cli.shared import say
from factory.errors import JobError

if TYPE_CHECKING:
    from factory.evaluate.reference import ImageInput
    from factory.label.labels_file import LabelsFile
    from factory.label.material import LabelMaterial
    from factory.label.model_review import NodeReview, Predict
    from factory.spec.labels import Verdict

_OPTION = "--model"


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
        JobError: If there are fewer than two, or none of them is in the labels file.
    """
    from factory.segment.tree.labels_file import read_labels_file

    names = [[name.strip() for name in part.split("|")] for part in written.split(",")]
    known = [label.name for label in read_labels_file(labels).labels]
    if len(names) < 2 or set(known).isdisjoint(name for part in names for name in part):
        raise JobError(
            f"--model-names: found {written!r}; give the name of each of the model's classes, in the "
            f"order of their ids, with commas between them (ground|shadow if one class is both); "
            f"{labels} has {', '.join(known)}"
        )
    return names


def open_model(path: Path, images: "ImageInput") -> "Predict":
    """Open a segmenter that reviews names.

    Raises:
        JobError: If there is no such file.
        PluginError: If it cannot be loaded.
    """
    import numpy as np

    from factory.evaluate.reference import ScoredSample
    from factory.evaluate.reference_network import NetworkReference, load_network

    if not path.exists():
        raise JobError(f"{_OPTION}: no file {path}; give a TorchScript (.pt) or ONNX (.onnx) file")
    network = NetworkReference(path.name, load_network(path, _OPTION), images, _OPTION)

    def predict(image: np.ndarray) -> np.ndarray:
        sample = ScoredSample("", np.zeros(image.shape[:2], np.uint8), image)
        mask = network.masks([sample])[0]
        return sample.mask if mask is None else mask

    return predict


def review_with_model(
    draw: Callable[[], "LabelMaterial"],
    labels_file: Path,
    who: str,
    model: Path,
    model_names: str,
    images: "ImageInput",
) -> None:
    """Let a model go over all named nodes, print what it says, and add its verdicts to the file.

    `draw` is called once the model and the names are known to be good.

    Raises:
        JobError: If the model's names are none, the labels are for another tree, or the file was
            changed meanwhile.
        PluginError: If the model cannot be loaded.
    """
    from factory.label.labels_file import LabelsFile
    from factory.label.model_review import review_nodes
    from factory.label.survey import NUM_SURVEYED
    from factory.segment.tree.labels_file import check_labels, read_labels_file

    predict = open_model(model, images)
    names = check_names(model_names, labels_file)
    material = draw()
    file = LabelsFile(labels_file, material.tree)
    seen = file.load()["seen"]
    labels = read_labels_file(file.path)
    check_labels(labels, material.tree, source=str(file.path))
    reviews = review_nodes(material.renderer, labels, predict, names, NUM_SURVEYED)
    _print(reviews)
    verdicts = [verdict for review in reviews if (verdict := review.verdict()) is not None]
    if not verdicts:
        say(f"the model says nothing about these nodes; {file.path} is unchanged")
        return
    _save(file, verdicts, who=who, seen=seen)
    disputed = sum(verdict.verdict == "disputed" for verdict in verdicts)
    say(f"{disputed} of {len(reviews)} nodes disputed; the verdicts of {who} are in {file.path}")


def _print(reviews: Sequence["NodeReview"]) -> None:
    width = max(len("named"), *(len(review.given) for review in reviews)) + 2
    say(f"{'node':>5}  {'named':<{width}}the model sees")
    for review in reviews:
        mark = "" if review.seen in {"", review.given} else "  disputed"
        what = f"{review.seen} at {review.share:.0%}" if review.seen else "too few pixels"
        say(f"{review.node:>5}  {review.given:<{width}}{what}{mark}")


def _save(file: "LabelsFile", verdicts: Sequence["Verdict"], *, who: str, seen: str) -> None:
    from factory.label.labels_file import ReviewRequest

    if file.review(ReviewRequest(verdicts=list(verdicts), seen=seen), who=who) is None:
        raise JobError(f"{file.path}: was changed meanwhile; run the review again")

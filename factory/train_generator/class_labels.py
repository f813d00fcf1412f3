"""Which class a training picture has, and the number of each class."""

import json
import logging
from collections.abc import Iterable, Mapping

from factory.errors import JobError
from factory.log import log_event
from factory.pack.archives import Member
from factory.redact import printable
from factory.train_generator.sources import WHERE

NVIDIA_NAME = "dataset.json"
"""Where NVIDIA's dataset_tool writes the classes of its pictures, beside their folders."""

_LONGEST_NAME = 200


def read_class(file: Member) -> str:
    """The class in a `.cls` file of WebDataset.

    Raises:
        JobError: If it is no name.
    """
    if file.oddity or file.size_bytes > 4 * _LONGEST_NAME:
        found = file.oddity or f"{file.size_bytes:,} bytes large"
        raise JobError(f"{WHERE}: {file.name} is {found}; a .cls file holds the name of a class")
    return file.read().decode("utf-8", "replace").strip()


def read_nvidia_labels(file: Member) -> dict[str, str]:
    """The class of each picture by its name, from NVIDIA's `dataset.json`; empty if it has none.

    Raises:
        JobError: If it is not at the root, or not as NVIDIA's tools write it.
    """
    where = f"{WHERE}: {file.name}"
    if "/" in file.name:
        folder = file.name.rpartition("/")[0]
        raise JobError(f"{where}: its labels are for that folder; give {folder} itself as {WHERE}")
    if file.oddity:
        raise JobError(f"{where} is {file.oddity}; take it out, or put the file itself there")
    # In a range of archives, names carry the archive's: `folder/archive:name`.
    archive = file.name.removesuffix(NVIDIA_NAME)
    labels: dict[str, object] = {}
    try:
        entries = json.loads(file.read(), object_pairs_hook=_pairs)["labels"] or []
        for name, label in entries:
            folder, slash, base = str(name).rpartition("/")
            if labels.setdefault(f"{folder}{slash}{archive}{base}", label) != label:
                raise JobError(f"{where}: {name} has two labels; keep one of them")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise JobError(
            f"{where}: not as NVIDIA's dataset_tool writes it, a list of [name, class] under 'labels'; "
            "mend it, or take it out to have the folders' names as classes"
        ) from error
    for name, label in labels.items():
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < 10**6:
            raise JobError(
                f"{where}: the label of {name} is {str(label)[:40]}; a class is a number from 0: write "
                "one for each picture, or take the file out"
            )
    return {name: str(label) for name, label in labels.items()}


def is_nvidia_labels(name: str) -> bool:
    """Whether a file is NVIDIA's `dataset.json`, also as one of a range of archives."""
    return name.rpartition("/")[2].rpartition(":")[2] == NVIDIA_NAME


def _pairs(found: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; of a key that is there twice, most readers take the last without a word.

    Raises:
        ValueError: If there is one.
    """
    if len(dict(found)) != len(found):
        raise ValueError("a key is there twice")
    return dict(found)


def nvidia_classes(labels: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The class of each of the pictures `names`; "" for all if `labels` is empty.

    Raises:
        JobError: If `labels` lacks one.
    """
    found = {}
    for name in names:
        if labels and name not in labels:
            raise JobError(
                f"{WHERE}: {NVIDIA_NAME} has no label for {name}; give it one, or take the picture out"
            )
        found[name] = labels.get(name, "")
    return found


def number_classes(names: Iterable[str]) -> list[str]:
    """The classes in the order of their numbers: alphabetical, or by value if all are numbers.

    Raises:
        JobError: If one cannot be a name.
    """
    found = set(names)
    for name in found:
        if printable(name) != name or "\n" in name or "\t" in name or len(name) > _LONGEST_NAME:
            raise JobError(
                f"{WHERE}: {name[:_LONGEST_NAME]!r} cannot be the name of a class; give at most "
                f"{_LONGEST_NAME} characters that can be printed"
            )
    if not all(name.isascii() and name.isdecimal() for name in found):
        return sorted(found)
    ordered = sorted(found, key=lambda name: (int(name), name))
    for number, name in enumerate(ordered):
        if number != int(name):
            log_event(
                "class_numbers_differ_from_names",
                level=logging.WARNING,
                first=f"number {number} is the class named {name}",
                hint="a job that means the name quotes it",
            )
            break
    return ordered

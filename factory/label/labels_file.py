"""The labels file that the page writes: atomic writes with optimistic locking."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import JobError
from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.labels_file import check_labels, encode_labels_file, read_labels_file
from factory.spec.labels import LabelsSpec
from factory.spec.settings import IdentityFields
from factory.store.single_file import replace_file


class SaveRequest(LabelsSpec):
    """The request to save labels, with the version of the file that the page has read."""

    identity_fields = IdentityFields(("tree", "labels"), left_out=("seen",))

    seen: str
    """Digest of the file's bytes when the page read them; empty if there was no file."""


@dataclass(frozen=True, slots=True)
class LabelsFile:
    """A labels file for one merge tree."""

    path: Path
    """Path of the file, which need not exist yet."""
    tree: Hierarchy
    """The tree whose nodes it names."""

    def load(self) -> dict[str, Any]:
        """Read the file for the page: labels (None if missing or invalid), digest, problem."""
        seen = self._digest()
        labels, problem = None, ""
        if seen:
            try:
                found = read_labels_file(self.path)
                check_labels(found, self.tree, source=str(self.path))
                labels = found.model_dump(mode="json")["labels"]
            except JobError as error:
                problem = f"{error}\nSaving here replaces that file."
        return {"labels": labels, "seen": seen, "problem": problem}

    def save(self, wanted: SaveRequest) -> str | None:
        """Write the labels; returns the new digest, or None (and no change) if the file has changed.

        Raises:
            JobError: If the labels do not fit the tree, or the file cannot be written.
        """
        labels = LabelsSpec.model_validate(wanted.model_dump(exclude={"seen"}))
        check_labels(labels, self.tree, source="labels")
        if self._digest() != wanted.seen:
            return None
        data = encode_labels_file(labels)
        replace_file(self.path, data)
        return hashlib.sha256(data).hexdigest()

    def _digest(self) -> str:
        try:
            return hashlib.sha256(self.path.read_bytes()).hexdigest()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise JobError(
                f"{self.path}: cannot read ({error.strerror}); give another path"
            ) from error

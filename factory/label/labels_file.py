"""The labels file that the page writes: atomic writes with optimistic locking."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from factory.errors import JobError
from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.labels_file import check_labels, encode_labels_file, read_labels_file
from factory.spec.labels import LabelsSpec, Review, Verdict
from factory.spec.settings import IdentityFields, Settings
from factory.store.single_file import replace_file


class SaveRequest(LabelsSpec):
    """The request to save labels, with the version of the file that the page has read."""

    identity_fields = IdentityFields(("tree", "labels"), left_out=("seen", "reviews"))

    seen: str
    """Digest of the file's bytes when the page read them; empty if there was no file."""


class ReviewRequest(Settings):
    """The request to add verdicts to the labels file that the page has read."""

    verdicts: list[Verdict] = Field(min_length=1, max_length=2**10)
    """The verdicts."""
    seen: str
    """Digest of the file's bytes when the page read them."""


@dataclass(frozen=True, slots=True)
class LabelsFile:
    """A labels file for one merge tree."""

    path: Path
    """Path of the file, which need not exist yet."""
    tree: Hierarchy
    """The tree whose nodes it names."""

    def load(self) -> dict[str, Any]:
        """Read the file for the page: labels (None if missing or invalid), digest, problem, reviews."""
        seen = self._digest()
        labels, problem, reviews, disputes = None, "", [], []
        if seen:
            try:
                found = read_labels_file(self.path)
                check_labels(found, self.tree, source=str(self.path))
                labels = found.model_dump(mode="json")["labels"]
                reviews = found.model_dump(mode="json")["reviews"]
                disputes = [review.model_dump(mode="json") for review in found.find_disputes()]
            except JobError as error:
                problem = f"{error}\nSaving here replaces that file."
        known = {"reviews": reviews, "disputes": disputes}
        return {"labels": labels, "seen": seen, "problem": problem} | known

    def save(self, wanted: SaveRequest) -> str | None:
        """Write the labels; returns the new digest, or None (and no change) if the file has changed.

        Raises:
            JobError: If the labels do not fit the tree, or the file cannot be written.
        """
        labels = LabelsSpec.model_validate(wanted.model_dump(exclude={"seen", "reviews"}))
        check_labels(labels, self.tree, source="labels")
        if self._digest() != wanted.seen:
            return None
        return self._write(labels.model_copy(update={"reviews": self._reviews()}))

    def review(self, wanted: ReviewRequest, *, who: str) -> str | None:
        """Add verdicts of `who` to the file; returns the new digest, or None if it has changed.

        Raises:
            JobError: If there are no such names to review, or the file cannot be read or written.
        """
        if self._digest() != wanted.seen:
            return None
        labels = read_labels_file(self.path)
        check_labels(labels, self.tree, source=str(self.path))
        names = {node: label.name for label in labels.labels for node in label.nodes}
        for verdict in wanted.verdicts:
            if names.get(verdict.node) != verdict.given:
                raise JobError(
                    f"verdicts: found node {verdict.node} as {verdict.given!r}; in {self.path} it is "
                    f"{names.get(verdict.node, 'no node of a class')!r}: reload the page"
                )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        reviews = [Review(**dict(verdict), who=who, when=now) for verdict in wanted.verdicts]
        return self._write(labels.model_copy(update={"reviews": [*labels.reviews, *reviews]}))

    def _reviews(self) -> list[Review]:
        """Verdicts in the file so far: saving names does not delete them."""
        try:
            return read_labels_file(self.path).reviews
        except JobError:  # missing, or not labels: it is replaced, as the page has said
            return []

    def _write(self, labels: LabelsSpec) -> str:
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

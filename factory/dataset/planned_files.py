"""Files beside a dataset that its shards are made with: each must be the one that the plan names."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory.errors import DamageError, Problem, StoreError
from factory.manifest.paths import BACKGROUNDS_PATH, LAYOUTS_PATH, OPINIONS_PATH, SEGMENTER_PATH
from factory.store import Store


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file whose SHA-256 is part of a dataset's identity."""

    path: str
    """Where it lies in the dataset."""
    section: str
    """Section of the identity that holds its SHA-256."""
    key: str
    """Name of the SHA-256 in that section."""
    argument: str
    """What `make_identity` calls that SHA-256."""
    again: str
    """How to get it again, once it is gone."""
    other_section: str = ""
    """Another section that may hold it; a dataset has only one of both."""

    def digest(self, identity: Mapping[str, Any]) -> str:
        """Its SHA-256 in the dataset with this identity; empty for a dataset without."""
        expected = self._expected(identity)
        return expected if isinstance(expected, str) else ""

    def find_problem(self, store: Store, identity: Mapping[str, Any]) -> Problem | None:
        """Hold the file in `store` against the dataset's identity; None if it is the one."""
        expected = self._expected(identity)
        if not expected:
            return None
        data = store.read(self.path)
        if data is None:
            return Problem(self.path, "missing", "missing, though the plan names it", self.again)
        found = hashlib.sha256(data).hexdigest()
        if found == expected:
            return None
        said = expected[:16] if isinstance(expected, str) else "none"
        text = f"sha256 {found[:16]}, the plan says {said}" if data else "empty"
        remedy = f"`factory repair` removes it, then {self.again}"
        return Problem(self.path, "changed", text, remedy)

    def check(
        self, store: Store, identity: Mapping[str, Any], *, may_be_missing: bool = False
    ) -> None:
        """Require that the file in `store` is the one that the identity names.

        Raises:
            DamageError: If it is damaged, or missing and may not be.
        """
        problem = self.find_problem(store, identity)
        if problem is None or (problem.kind == "missing" and may_be_missing):
            return
        repair = f"`factory repair {store.uri}` removes it, then {self.again}"
        raise DamageError(
            where=f"{store.uri}/{problem.path}",
            found=problem.found,
            remedy=problem.remedy if problem.kind == "missing" else repair,
            problems=(problem,),
        )

    def read(self, store: Store, identity: Mapping[str, Any]) -> bytes:
        """The file in `store`, if it is the one that the identity names; else empty."""
        data = store.read(self.path) if self.digest(identity) else None
        is_it = data is not None and hashlib.sha256(data).hexdigest() == self.digest(identity)
        return data if data is not None and is_it else b""

    def _expected(self, identity: Mapping[str, Any]) -> object:
        found = [identity.get(name) for name in (self.section, self.other_section)]
        digests = [one.get(self.key) for one in found if isinstance(one, Mapping)]
        return next((digest for digest in digests if digest is not None), None)


SEGMENTER = PlannedFile(
    SEGMENTER_PATH,
    "segmenter",
    "sha256",
    "segmenter_sha256",
    "run the job again: it is fitted anew",
)
"""The fitted segmenter; a method that fits nothing has none."""

LAYOUTS = PlannedFile(
    LAYOUTS_PATH,
    "sampling",
    "layouts_sha256",
    "layouts_sha256",
    "run the job again, where its layouts are: it writes them anew",
    other_section="edit",
)
"""The wanted layouts of a dataset that was searched, or the edited masks of one with edits."""

BACKGROUNDS = PlannedFile(
    BACKGROUNDS_PATH,
    "compose",
    "backgrounds_sha256",
    "backgrounds_sha256",
    "run the job again, where its backgrounds are: it writes them anew",
)
"""The backgrounds that objects were put on, where they come from a folder."""

OPINIONS = PlannedFile(
    OPINIONS_PATH,
    "agreement",
    "opinions_sha256",
    "opinions_sha256",
    "run the job again: its methods are fitted anew",
)
"""The other methods that masks were compared with."""

PLANNED_FILES = (SEGMENTER, LAYOUTS, BACKGROUNDS, OPINIONS)
"""All of them."""


def planned_digests(identity: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of all planned files of a dataset, named as `make_identity` takes them."""
    return {file.argument: file.digest(identity) for file in PLANNED_FILES}


def find_file_problems(store: Store, identity: Mapping[str, Any]) -> list[Problem]:
    """Hold all planned files in `store` against the dataset's identity."""
    found = (file.find_problem(store, identity) for file in PLANNED_FILES)
    return [problem for problem in found if problem is not None]


def check_files(store: Store, identity: Mapping[str, Any], *, may_be_missing: bool = False) -> None:
    """Require that all planned files in `store` are those that the identity names.

    Raises:
        DamageError: If one is damaged, or missing and may not be.
    """
    for file in PLANNED_FILES:
        file.check(store, identity, may_be_missing=may_be_missing)


def other_fit(store: Store, digest: str) -> StoreError:
    """The error of a run that had to fit a segmenter again, and got another one than the plan names."""
    return StoreError(
        where=f"{store.uri}/{SEGMENTER_PATH}",
        found=f"missing, and a fit on this machine gives another one (sha256 {digest[:16]})",
        allowed="a dataset has one segmenter",
        remedy="restore the file, or run with the libraries and the device that the receipts name, or "
        "choose another output.uri",
    )

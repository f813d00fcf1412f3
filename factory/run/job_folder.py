"""The dataset in a job's folder, whose segmenter and other files are used instead of new ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory.dataset.planned_files import SEGMENTER, check_files, planned_digests
from factory.dataset.state import find_rounds
from factory.fit.finish import find_finished
from factory.fit.fitted import find_fitted, needs_fitting
from factory.fit.named_files import digest_named_files
from factory.log import log_event
from factory.manifest.paths import round_path
from factory.plan.identity import identity_differences
from factory.run.job_identity import identify_job
from factory.segment.methods import has_file
from factory.spec import JobSpec
from factory.store import LocalStore, Store

_MOST_TOLD = 3


@dataclass(frozen=True, slots=True)
class FilesHolder:
    """The dataset that has the files which a job's shards are made with, if they exist."""

    store: Store
    """Its store."""
    identity: Mapping[str, Any]
    """Its identity; empty if there is no dataset."""
    is_beside: bool = False
    """Whether it is another dataset than the job's output."""

    @property
    def named_files(self) -> Mapping[str, str]:
        """SHA-256 of the files that its segmenter was fitted on, by the setting that names them."""
        files: Mapping[str, str] = self.identity.get("segmenter", {}).get("files", {})
        return files


def find_holder_beside(spec: JobSpec, weights_sha256: str) -> FilesHolder | None:
    """The dataset that `spec.beside` names, if the job would make the same one; else None.

    A job that was changed makes another dataset, and has to fit its own segmenter; what differs is
    logged.

    Raises:
        JobError: If a file that the job names can neither be read nor is known there.
        DamageError: If that dataset's plan or one of its files is damaged.
    """
    if spec.beside is None:
        return None
    store = LocalStore(spec.beside)
    if store.read(round_path(0)) is None:
        log_event("beside_unused", level=logging.WARNING, why=f"{spec.beside} holds no dataset")
        return None
    holder = FilesHolder(store, find_rounds(store)[0].identity, is_beside=True)
    ours = identify_job(
        spec,
        weights_sha256=weights_sha256,
        files=digest_named_files(spec.dataset, holder.named_files),
        theirs=holder.identity,
        **planned_digests(holder.identity),
    )
    differences = identity_differences(ours, dict(holder.identity))
    if differences:
        why = "; ".join(differences[:_MOST_TOLD])
        log_event("beside_unused", level=logging.WARNING, why=f"the job was changed: {why}")
        return None
    check_files(store, holder.identity)
    return holder


def find_fit(spec: JobSpec, weights_sha256: str) -> tuple[bytes | None, bytes | None]:
    """What is fitted, and the segmenter file made of it; None for what a run has to fit first.

    Raises:
        JobError: If a file that the job names cannot be read, or is not for this job.
        DamageError: If the dataset beside the job is damaged.
    """
    dataset = spec.dataset
    holder = find_holder_beside(spec, weights_sha256) if has_file(dataset.segmenter) else None
    if holder is not None:
        made = SEGMENTER.read(holder.store, holder.identity)
        return made, made
    fitted = find_fitted(dataset, weights_sha256) if needs_fitting(dataset) else b""
    finished = None if fitted is None else find_finished(fitted, dataset, weights_sha256)
    return fitted, finished

"""Read a job, from a YAML file or from plain values, with all its problems reported at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from factory.arguments import check_arguments
from factory.spec.anchor import anchor_paths
from factory.spec.changes import apply_changes
from factory.spec.check import check_settings
from factory.spec.inline import inline_files
from factory.spec.job import JobSpec
from factory.spec.shipped import find_job_file
from factory.spec.yaml_file import load_yaml

Job = JobSpec | str | Path | Mapping[str, Any]
"""A job in any form that functions accept: validated, the path of its file (or `shipped:NAME`), or
plain values."""


@check_arguments
def load_job(path: str | Path, changes: Mapping[str, Any] | None = None) -> JobSpec:
    """Read and validate the job file at `path`, and the labels file it names, if any.

    Relative paths of what the job reads mean the folder of its file, or else the folder the command
    runs in; `output.uri` means the latter.

    Args:
        path: The job file, or `shipped:NAME` for a job that comes with the package.
        changes: Values by dotted path, such as `{"run.num_actors": 4}`, in place of the file's.

    Raises:
        JobError: If a file cannot be read, is not YAML, or breaks a rule; the message holds one
            line per problem.
    """
    file = find_job_file(path)
    document = load_yaml(file, noun="job file", keys="name, dataset, output")
    anchor_paths(document, JobSpec, file.parent)
    apply_changes(document, changes or {})  # paths in them mean the folder the command runs in
    inline_files(document)
    return check_job(document, source=str(path))


def check_job(document: dict[str, Any], *, source: str) -> JobSpec:
    """Validate a plain mapping as a `JobSpec`. `source` names it in errors.

    Raises:
        JobError: If it breaks a rule; the message holds one line per problem.
    """
    return check_settings(JobSpec, document, source=source)


def as_job(job: Job) -> JobSpec:
    """Read and validate `job`; a `JobSpec` is returned unchanged.

    Raises:
        JobError: If it cannot be read, or breaks a rule; the message holds one line per problem.
    """
    if isinstance(job, JobSpec):
        return job
    return load_job(job) if isinstance(job, (str, Path)) else JobSpec.from_dict(job)

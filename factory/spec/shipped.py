"""The jobs that come with the package: `shipped:NAME` in place of the path of a job's file."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from factory.errors import JobError

SHIPPED_PREFIX = "shipped:"
"""What the names of shipped jobs and weights begin with."""

_DISTRIBUTION = "maskfactory"


def find_job_file(job: str | Path) -> Path:
    """The path of a job's file: of `shipped:NAME` where it was installed, of others as it is.

    Raises:
        JobError: If no job of that name is shipped.
    """
    name = str(job).removeprefix(SHIPPED_PREFIX)
    if name == str(job):
        return Path(job)
    shipped = shipped_jobs()
    if name not in shipped:
        raise JobError(
            where=str(job),
            found="no job of that name is shipped",
            allowed=f"shipped are: {', '.join(shipped) or 'none here'}",
        )
    return shipped[name]


def shipped_jobs() -> dict[str, Path]:
    """The files of the shipped jobs by their names, sorted."""
    return {path.stem: path for path in sorted(_job_files())}


def _job_files() -> Iterator[Path]:
    """A checkout has them beside the package; a wheel puts them where its record says."""
    beside = Path(__file__).parents[2]
    if (beside / "pyproject.toml").is_file():
        yield from beside.glob("jobs/*.yaml")
        return
    try:
        installed = files(_DISTRIBUTION) or []
    except PackageNotFoundError:
        return
    for file in installed:
        if file.parent.name == "jobs" and file.suffix == ".yaml":
            yield Path(str(file.locate())).resolve()

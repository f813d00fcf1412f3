"""Write the description that a package index shows: README.md with links that work there.

Everything else about the package is in `pyproject.toml`. README's links are relative to the repository,
which an index does not have. A release says where that is: `MASKFACTORY_REPOSITORY=https://HOST/OWNER/NAME
python -m build`. Without it the words of a link stay, and pictures are left out.
"""

import os
import re
from pathlib import Path

from setuptools import setup

_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https://)([^)]*)\)\n*")
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https://|#)([^)]*)\)")


def describe(readme: str, repository: str = "") -> str:
    """`readme` with every relative link and picture at `repository`, or without them."""
    if not repository:
        return _LINK.sub(r"\1", _PICTURE.sub("", readme))
    base = repository.rstrip("/")
    shown = _PICTURE.sub(rf"![\1]({base}/raw/main/\2)\n\n", readme)
    return _LINK.sub(rf"[\1]({base}/blob/main/\2)", shown)


def main() -> None:
    """Build the package."""
    repository = os.environ.get("MASKFACTORY_REPOSITORY", "")
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    urls = {"Source": repository, "Changelog": f"{repository}/blob/main/CHANGELOG.md"}
    setup(
        long_description=describe(readme, repository),
        long_description_content_type="text/markdown",
        project_urls=urls if repository else {},
    )


if __name__ == "__main__":
    main()

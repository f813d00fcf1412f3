"""Writes the schemas beside this file from KubeRay's own files; `README.md` says which.

`python tests/deploy/kuberay/make.py FOLDER TAG` with the `crds` folder of that release's chart.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
KINDS = ("rayjobs", "raycronjobs")


def schema_of(text: str) -> dict[str, Any]:
    """The schema of the version v1 in a custom resource definition."""
    versions = yaml.safe_load(text)["spec"]["versions"]
    (found,) = [version for version in versions if version["name"] == "v1"]
    return dict(found["schema"]["openAPIV3Schema"])


def main(folder: Path, tag: str) -> None:
    """Write the file of one release."""
    schemas = {kind: schema_of((folder / f"ray.io_{kind}.yaml").read_text()) for kind in KINDS}
    data = json.dumps(schemas, separators=(",", ":"), sort_keys=True).encode()
    (HERE / f"{tag}.json.gz").write_bytes(gzip.compress(data, 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

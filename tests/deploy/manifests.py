"""The Kubernetes files of `deploy/`, read and patched as kustomize does."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


@cache
def read_all(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def render(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What a kustomization gives, by kind and name: resources, generated ConfigMaps, JSON patches.

    It knows what our kustomizations use, and stops at anything else.
    """
    (kustomization,) = read_all(folder / "kustomization.yaml")
    known = {
        *("apiVersion", "kind", "namespace", "resources", "configMapGenerator"),
        *("generatorOptions", "labels", "patches"),
    }
    assert set(kustomization) <= known, set(kustomization) - known
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name in kustomization["resources"]:
        path = folder / name
        if path.is_dir():
            found |= render(path.resolve())
        else:
            # Not deepcopy, which keeps what YAML's aliases share, so that a patch would hit both.
            for document in json.loads(json.dumps(read_all(path))):
                found[document["kind"], document["metadata"]["name"]] = document
    for generator in kustomization.get("configMapGenerator", []):
        key = ("ConfigMap", generator["name"])
        assert (key in found) == (generator.get("behavior") == "replace"), generator
        data = {file: (folder / file).read_text() for file in generator["files"]}
        metadata = {"name": generator["name"], **generator.get("options", {})}
        found[key] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    for patch in kustomization.get("patches", []):
        target = found[patch["target"]["kind"], patch["target"]["name"]]
        for operation in read_all(folder / patch["path"])[0]:
            apply(target, operation)
    return found


def apply(document: Any, operation: dict[str, Any]) -> None:
    """One operation of a JSON patch (RFC 6902)."""
    *parents, last = (
        part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
    )
    for part in parents:
        document = document[int(part)] if isinstance(document, list) else document[part]
    value = copy.deepcopy(operation["value"])
    if isinstance(document, list):
        if last == "-":
            document.append(value)
        elif operation["op"] == "replace":
            document[int(last)] = value
        else:
            document.insert(int(last), value)
        return
    assert (last in document) == (operation["op"] == "replace"), operation
    document[last] = value

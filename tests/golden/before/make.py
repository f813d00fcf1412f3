"""Make a dataset of before with the code that made datasets then: `make.py [--grow] CHECKOUT NAME...`.

CHECKOUT is a folder with the code that `jobs.yaml` names. Each dataset is packed into `NAME.tar.gz`
without its preview, and `grown.json` is told what that code makes when the dataset grows: the digest of
every shard. With `--grow` the datasets stay as they are, and `grown.json` is told what that code makes
of them on this processor where it is something else.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml

HERE = Path(__file__).parent
TREE = HERE.parents[1] / "shapes_tree.safetensors"


def run(code: Path, folder: Path, name: str, dataset: dict) -> Path:
    """Run the job with `code` in `folder`; the dataset."""
    document = {
        "name": "before",
        "dataset": dataset,
        "run": {"executor": "inline"},
        "output": {"uri": "out"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    environment = os.environ | {"PYTHONPATH": str(code), "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "factory", "run", "job.yaml"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    return folder / "out"


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every shard, by its path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "data").rglob("*.tar"))
    }


def pack(root: Path, target: Path) -> None:
    """The dataset as an archive of equal bytes for equal files."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root).as_posix()
            if name != "preview.png":
                member = tarfile.TarInfo(name)
                member.size = path.stat().st_size
                archive.addfile(member, io.BytesIO(path.read_bytes()))
    target.write_bytes(gzip.compress(sink.getvalue(), 9, mtime=0))


def grow(code: Path, name: str, job: dict, known: dict) -> None:
    """Let `code` grow the packed dataset here, and note the digests that differ."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copy(HERE / "labels.yaml", folder)
        with tarfile.open(HERE / f"{name}.tar.gz") as archive:
            archive.extractall(folder / "out", filter="data")
        run(code, folder, name, job["dataset"] | {"num_samples": job["grows_to"]})
        found = digests(folder / "out")
        device = json.loads(max((folder / "out/receipts").rglob("*.json")).read_text())["device"]
    others = {path: digest for path, digest in found.items() if known["grown"][path] != digest}
    if others:
        known.setdefault("grown_on", {})[device] = others


def main() -> None:
    code, *names = (argument for argument in sys.argv[1:] if argument != "--grow")
    jobs = yaml.safe_load((HERE / "jobs.yaml").read_text())
    record = HERE / "grown.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    for name in names:
        if "--grow" in sys.argv:
            grow(Path(code).resolve(), name, jobs[name], known[name])
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            shutil.copy(TREE, folder / "tree.safetensors")
            shutil.copy(HERE / "labels.yaml", folder)
            job = jobs[name]
            root = run(Path(code).resolve(), folder, name, job["dataset"])
            pack(root, HERE / f"{name}.tar.gz")
            known[name] = {"made": digests(root)}
            if "grows_to" in job:
                grown = job["dataset"] | {"num_samples": job["grows_to"]}
                known[name]["grown"] = digests(run(Path(code).resolve(), folder, name, grown))
    record.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()

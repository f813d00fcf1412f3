"""Bad input and bad places: one clear line, the right exit code, and nothing lost."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from lab import Lab


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def job_at(lab: Lab, uri: Path, executor: str = "inline") -> Path:
    document = yaml.safe_load(lab.job("elsewhere", executor=executor, num_actors=1).read_text())
    document["dataset"]["samples_per_shard"] = 32
    document["output"]["uri"] = str(uri)
    return lab.write_job(document)


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_full_disk_is_one_line_and_the_run_resumes_after_making_room(
    lab: Lab, tiny_disk: Path, executor: str
) -> None:
    job = job_at(lab, tiny_disk / "data", executor)
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(150_000))
    full = lab.run("run", str(job))
    assert full.returncode == 6, full.stderr
    last = full.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tiny_disk}/data/"), full.stderr
    assert last.endswith(
        "no space left on device; free some space and run the command again: everything committed "
        "is kept"
    )
    assert "Traceback" not in full.stderr
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", str(tiny_disk)], check=True)
    lab.must_run("run", str(job))
    assert "all good" in lab.must_run("verify", str(tiny_disk / "data"))


def test_a_read_only_output_is_one_line(lab: Lab, tiny_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    refused = lab.run("run", str(job_at(lab, tiny_disk / "data")))
    assert refused.returncode == 6
    last = refused.stderr.splitlines()[-1]
    assert "read-only file system; mount it writable, or choose another output.uri" in last


def test_an_output_below_a_file_is_one_line(lab: Lab) -> None:
    (lab.folder / "file").touch()
    refused = lab.run("run", str(job_at(lab, lab.folder / "file" / "data")))
    assert refused.returncode == 6
    last = refused.stderr.splitlines()[-1]
    assert last.endswith("not a directory; choose an output.uri whose parents are folders")


def test_a_bug_in_a_generator_costs_its_shard_and_nothing_else(lab: Lab) -> None:
    for executor in ("inline", "ray"):
        job = lab.job(f"broken-{executor}", "mortal:Broken", executor=executor, num_actors=1)
        broken = lab.run("run", str(job))
        assert broken.returncode == 5, broken.stderr
        last = broken.stderr.splitlines()[-1]
        assert "1 of 6 shards are in quarantine, the first is toy-000002" in last
        assert "ZeroDivisionError: a bug at sample 40" in last
        assert broken.stderr.count("shard_retry shard=toy-000002") == 2
        assert len(lab.digests(f"broken-{executor}")) == 5
        assert "all good" in lab.must_run("verify", str(lab.folder / f"broken-{executor}"))


@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_setting_that_only_the_worker_can_judge_is_one_line(lab: Lab, executor: str) -> None:
    document = yaml.safe_load(lab.job("classes", executor=executor, num_actors=1).read_text())
    job = lab.write_job(document)
    lab.must_run("fit", str(job))
    document["dataset"]["generator"]["precision"] = "float16"
    document["dataset"]["latents"] = {"classes": [3]}
    refused = lab.run("run", str(lab.write_job(document)))
    assert refused.returncode == 2, refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last == (
        "error: dataset.latents.classes: this generator has no classes; remove the setting"
    )


def test_missing_and_changed_weights_are_one_line(lab: Lab) -> None:
    document = yaml.safe_load(lab.job("weights").read_text())
    document["dataset"]["generator"] = {"kind": "stylegan2", "weights": "no/such/file"}
    missing = lab.run("run", str(lab.write_job(document)))
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith(
        "error: dataset.generator.weights: no file 'no/such/file' in the job's folder, or else in "
    )
    document["dataset"]["generator"] = {
        "kind": "stylegan2",
        "weights": "shipped:blood_cells",
        "sha256": "0" * 64,
    }
    changed = lab.run("run", str(lab.write_job(document)))
    assert changed.returncode == 2
    assert "the job demands 0000000000" in changed.stderr.splitlines()[-1]
    assert not (lab.folder / "weights").exists(), "a refused job must leave nothing"


def test_an_unreachable_cluster_is_one_line(lab: Lab) -> None:
    refused = lab.run("run", str(lab.job("far", executor="ray", address="127.0.0.1:1")))
    assert refused.returncode == 3, refused.stderr
    assert "run.address: cannot reach a Ray cluster at '127.0.0.1:1'" in refused.stderr


def test_a_long_folder_for_temporary_files_does_not_keep_ray_from_its_sockets(
    lab: Lab, tmp_path: Path
) -> None:
    long = tmp_path / "cluster-node-0042/users/someone.withlongname/slurm_jobdir/job-13557001/tmp"
    long.mkdir(parents=True)
    job = job_at(lab, tmp_path / "data", "ray")
    lab.must_run("run", str(job), TMPDIR=str(long))
    assert "all good" in lab.must_run("verify", str(tmp_path / "data"), TMPDIR=str(long))

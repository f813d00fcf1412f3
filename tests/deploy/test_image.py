"""The image: linted, pinned, and its health check tried."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from manifests import DEPLOY

ROOT = DEPLOY.parent
DOCKERFILE = DEPLOY / "image" / "Dockerfile"
sys.path.insert(0, str(DEPLOY / "image"))
import healthcheck  # noqa: E402 - it lies beside the Dockerfile


def test_hadolint_has_nothing_to_say():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/bin:/bin")
    ran = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "")


def test_it_needs_no_buildkit_and_ends_as_another_user_than_root():
    text = DOCKERFILE.read_text()
    assert not re.search(r"^# syntax=|--mount|<<|--link|--chmod", text, re.MULTILINE)
    for stage in re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]:
        if re.match(r"torch-\w+ AS (cpu|cuda)", stage):
            users = re.findall(r"^USER (.+)$", stage, re.MULTILINE)
            assert users == ["1000:1000"]
            assert "HEALTHCHECK" in stage
    assert re.search(r"^FROM python:3\.11\.\d+-slim-\w+ AS base$", text, re.MULTILINE)


def test_both_targets_are_alike_but_for_torch():
    text = DOCKERFILE.read_text()
    cpu = text.split("FROM torch-cpu AS cpu\n")[1].split("FROM ")[0]
    cuda = text.split("FROM torch-cuda AS cuda\n")[1]
    assert cpu.strip() == cuda.strip()


def test_every_dependency_is_pinned_to_what_the_package_allows():
    lines = (DEPLOY / "image" / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in project["dependencies"]:
        name, least = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
        if name == "torch":
            assert DOCKERFILE.read_text().count("torch==") == 2
            continue
        found = tuple(int(part) for part in re.findall(r"\d+", pins[name])[:2])
        assert found >= tuple(int(part) for part in least.split("."))


def test_versions_of_torch_and_ray_are_the_same_everywhere():
    readme = (ROOT / "README.md").read_text()
    (torch,) = set(re.findall(r"torch==([\d.]+)", DOCKERFILE.read_text() + readme))
    assert torch
    ray = re.search(
        r"^ray==(.+)$", (DEPLOY / "image" / "constraints.txt").read_text(), re.MULTILINE
    )[1]
    assert f"rayVersion: {ray}" in (DEPLOY / "kubernetes" / "base" / "rayjob.yaml").read_text()


def test_the_context_is_the_wheel_the_jobs_and_these_files():
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    for source in re.findall(r"^COPY (?:--chown=\S+ )?(\S+)", DOCKERFILE.read_text(), re.MULTILINE):
        assert any(source.startswith(line.lstrip("!")) for line in lines if line.startswith("!")), (
            source
        )


@pytest.mark.parametrize(
    ("command", "port"),
    [
        (["tini", "-g", "--", "factory", "serve", "s3://b/x", "--port", "80"], "80"),
        (["/venv/bin/factory", "serve", "x", "--port=81", ""], "81"),
        (["python", "/venv/bin/factory", "serve", "x"], "8765"),
        (["factory", "run", "serve.yaml"], None),
        (["ray", "start", "--head"], None),
        ([""], None),
    ],
)
def test_the_port_is_that_of_the_command_line(command, port):
    assert healthcheck.served_port(command) == port


def test_a_page_that_does_not_answer_is_unwell(monkeypatch):
    monkeypatch.setattr(healthcheck, "served_port", lambda _: "1")
    assert healthcheck.main() == 1
    monkeypatch.setattr(healthcheck, "served_port", lambda _: None)
    assert healthcheck.main() == 0

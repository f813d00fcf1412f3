"""The rules of the house, each with its machine."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import factory
from factory.train_generator.spec import load_training

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "factory").rglob("*.py"))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "factory", "tests"),
        ("ruff", "format", "--check", "factory", "tests"),
        ("mypy",),
        ("lint-imports",),
    ],
    ids=" ".join,
)
def test_the_tools_have_nothing_to_say(command: tuple[str, ...]) -> None:
    tool = str(Path(sys.executable).with_name(command[0]))
    result = run(tool, *command[1:])
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_type_checker_knows_every_public_name(tmp_path: Path) -> None:
    """Behind the check of the whole package, whose results it finds in the cache."""
    code = "import factory\n" + "".join(f"reveal_type(factory.{n})\n" for n in factory.__all__)
    (tmp_path / "uses.py").write_text(code)
    tool = str(Path(sys.executable).with_name("mypy"))
    result = run(tool, "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "uses.py"))
    told = [line for line in result.stdout.splitlines() if "Revealed type is" in line]
    assert result.returncode == 0, result.stdout + result.stderr
    assert len(told) == len(factory.__all__)
    assert not [line for line in told if line.endswith('"Any"')]


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_no_function_is_longer_than_50_lines() -> None:
    long = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                long += [f"{path.name}:{node.name}"] if node.end_lineno - node.lineno > 50 else []
    assert long == []


def modules_after(code: str) -> set[str]:
    result = run(
        sys.executable, "-c", f"import sys, json; {code}; print(json.dumps([*sys.modules]))"
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_planning_loads_neither_torch_nor_ray() -> None:
    loaded = modules_after(
        "from pathlib import Path; from factory.spec.read import load_job; "
        "from factory.run.estimate import estimate_job; estimate_job(load_job(Path('jobs/smoke.yaml')))"
    )
    assert not loaded & {"torch", "ray"}
    assert "torch" in modules_after("import factory.shard"), "this test can see what is loaded"


def test_the_command_line_starts_without_heavy_imports() -> None:
    assert not modules_after("import factory.cli.app") & {"torch", "ray", "numpy", "pyarrow"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "jobs" / "train").glob("*.yaml")), ids=lambda p: p.name
)
def test_every_training_in_the_repository_is_valid(path: Path) -> None:
    assert load_training(path).schedule.num_images >= 2_000_000


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_job_in_the_repository_plans(path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    env |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/nowhere",
            "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "RAY_ADDRESS": "127.0.0.1:1"}  # fmt: skip

    def call(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "factory", *words, str(path)]
        return subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )

    result = call("plan", "--json")
    plan = json.loads(result.stdout)
    assert plan["num_shards"] > 0
    if path.stem != "ffhq_100k":
        assert (result.returncode, plan["missing"]) == (0, []), result.stderr
        assert plan["pairs_per_s"] > 0
        return
    assert plan["num_shards"] == 391
    assert any("weights" in warning for warning in plan["warnings"])
    # Credentials, the digest of the download, and a cluster: said in one go, in the order of a run.
    assert [lack["exit_code"] for lack in plan["missing"]] == [6, 2, 3]
    for lack, word in zip(plan["missing"], ("credentials", "sha256", "Ray cluster"), strict=True):
        assert word in lack["what"]
    assert call("run").returncode == result.returncode == 6


def test_all_five_jobs_and_the_training_were_seen() -> None:
    assert len(list((ROOT / "jobs").glob("*.yaml"))) == 5
    assert len(list((ROOT / "jobs" / "train").glob("*.yaml"))) == 1
    assert len(list((ROOT / "jobs").rglob("*.yaml"))) == 8, "and the demo's fit and labels"


def imports_of(path: Path, names: set[str]) -> set[str]:
    """The modules of ours that a file imports, anywhere in it; `names` are all modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & names or {node.module} & names
    return found


def test_no_two_modules_import_each_other_even_inside_a_room_or_late() -> None:
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {name: imports_of(path, set(modules)) - {name} for name, path in modules.items()}
    while free := [name for name, wanted in graph.items() if not wanted & graph.keys()]:
        for name in free:
            del graph[name]
    in_circles = {name for name in graph if any(name in graph.get(w, ()) for w in graph[name])}
    assert in_circles == set(), f"part of circles, or above one: {sorted(graph)}"
    assert not graph, f"a longer circle among {sorted(graph)}"

import hashlib
import json
import logging
import re
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from small_job import small_document
from typer.testing import CliRunner

import factory
from factory.cli.app import app
from factory.generate import GENERATORS
from factory.pack.tar import read_members
from factory.plan.rounds import Round
from factory.spec.methods import METHODS
from golden.goldens import command_names


@pytest.fixture(autouse=True)
def _own_log_and_paths(monkeypatch, tmp_path):
    """The command line logs to standard error and looks for plugins in the folder it runs in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield
    logger = logging.getLogger("factory")
    logger.handlers.clear()
    logger.propagate = True


def write_job(folder, overrides=None):
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(small_document(folder, overrides)))
    return str(path)


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def plugin(folder, name, body):
    (folder / f"{name}.py").write_text(
        "from factory import errors\n\n\ndef make(spec, weights, device):\n" + f"    {body}\n"
    )
    return {"dataset.generator": {"kind": f"{name}:make"}}


def test_the_version_is_printed_and_nothing_else():
    told = call("--version")
    assert (told.exit_code, told.stdout) == (0, f"maskfactory {factory.__version__}\n")


@pytest.mark.parametrize("command", ["", *command_names()])
def test_every_command_knows_the_short_option_for_help(command):
    asked, known = call(*command.split(), "-h"), call(*command.split(), "--help")
    assert (asked.exit_code, asked.stdout) == (0, known.stdout)
    assert asked.stdout.lstrip().startswith("Usage: ")


def test_a_job_runs_to_a_dataset_that_every_command_understands(tmp_path):
    job, out = write_job(tmp_path), tmp_path / "out"
    ran = call("run", job)
    assert ran.exit_code == 0
    assert ran.stdout == f"13 pairs in 3 shards: {out} (see {out}/preview.png)\n"
    status = call("status", out)
    assert re.search("dataset      [0-9a-f]{16}: complete\n", status.stdout)
    assert "pairs        13 of 13\nshards       3 of 3 committed\n" in status.stdout
    assert call("status", job).stdout == status.stdout
    assert json.loads(call("status", out, "--json").stdout)["shards_committed"] == 3
    assert call("verify", out).stdout == "3 shards, 13 samples: all good\n"
    again = call("verify", out, "--regenerate", "2")
    assert again.stdout == "3 shards, 13 samples: all good, 2 made again byte for byte\n"
    every = call("verify", out, "--regenerate", "1000")
    assert every.stdout == "3 shards, 13 samples: all good, 13 made again byte for byte\n"
    assert json.loads(call("verify", out, "--json").stdout) == {
        "num_shards": 3,
        "num_samples": 13,
        "problems": [],
        "num_regenerated": 0,
        "makers": [],
    }
    assert call("preview", out, "-o", tmp_path / "p.png").stdout == f"wrote {tmp_path}/p.png\n"
    assert (tmp_path / "p.png").read_bytes() == (out / "preview.png").read_bytes()
    assert call("run", job).exit_code == 0


def test_fitting_first_makes_the_file_that_the_run_takes(tmp_path):
    job = write_job(tmp_path, {"dataset.segmenter.fit.seed": 123})
    first = call("fit", job, "-o", tmp_path / "s")
    assert first.stdout == f"fitted kmeans\nwrote {tmp_path}/s\n"
    assert call("fit", job).stdout == "kmeans was fitted before: taken from the cache\n"
    told = json.loads(call("fit", job, "-o", tmp_path / "s", "--json").stdout)
    whole = (tmp_path / "s").read_bytes()
    assert told == {
        "kind": "kmeans", "is_new": False, "sha256": hashlib.sha256(whole).hexdigest(),
        "bytes": len(whole), "output": str(tmp_path / "s"), "report": None, "warnings": [],
    }  # fmt: skip
    call("run", job)
    assert (tmp_path / "out/segmenter.safetensors").read_bytes() == (tmp_path / "s").read_bytes()


def test_a_sample_is_made_again_from_its_key_and_written_where_it_is_wanted(tmp_path):
    call("run", write_job(tmp_path))
    again = call("replay", tmp_path / "out", "000000012", "-o", tmp_path / "again")
    assert again.exit_code == 0
    assert again.stdout.endswith("000000012: 3 files made again byte for byte\n")
    stored = dict(read_members(tmp_path / "out/data/train/tiny-000002.tar"))
    names = [f"000000012.{ending}" for ending in ("image.png", "json", "mask.png")]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == names
    assert all((tmp_path / "again" / name).read_bytes() == stored[name] for name in names)
    told = json.loads(call("replay", tmp_path / "out", "000000012", "--json").stdout)
    assert told == {
        "key": "000000012",
        "is_equal": True,
        "files": ["image.png", "mask.png", "json"],
    }
    strange = call("replay", tmp_path / "out", "123456789")
    assert strange.exit_code == 6
    assert "no committed shard holds sample '123456789'; keys are nine digits" in strange.stderr


def test_a_plan_is_told_in_words_and_as_json(tmp_path):
    job = write_job(tmp_path)
    words = call("plan", job)
    assert "pairs     13 (0 made)\n" in words.stdout
    assert "shards    3\n" in words.stdout
    assert "image     32 x 32 px\n" in words.stdout
    assert json.loads(call("plan", job, "--json").stdout)["num_shards"] == 3
    assert not (tmp_path / "out").exists()


def test_plugins_and_shipped_weights_are_listed():
    listed = call("generators").stdout
    needs = f"{'':<20}needs a weights file\n"
    assert f"stylegan2           StyleGAN2 in any layout.\n{needs}" in listed
    assert "shapes              A toy with exact masks, for trials and tests.\nstylegan1" in listed
    assert (
        "shipped:blood_cells weights that come with the package: blood_cells_64.safeten" in listed
    )
    found = json.loads(call("generators", "--json").stdout)
    assert {one["kind"] for one in found["generators"]} == set(GENERATORS.names())
    assert found["weights"] == {"shipped:blood_cells": "blood_cells_64.safetensors"}


def test_methods_are_listed_with_what_they_need():
    listed = call("segmenters").stdout
    assert "direction           Foreground by a latent direction " in listed
    assert f"{'':<20}needs a generator with latents that can be moved\n" in listed
    found = json.loads(call("segmenters", "--json").stdout)["segmenters"]
    assert {one["kind"] for one in found} >= set(METHODS)
    assert all(one["about"] and one["needs"] for one in found if one["kind"] in METHODS)


def test_a_run_is_quiet_or_answers_as_json_and_writes_where_it_is_told(tmp_path):
    job, other = write_job(tmp_path), tmp_path / "other"
    planned = call("run", job, "-o", other, "--dry-run")
    assert planned.stdout == call("plan", job, "--output", other).stdout
    assert f"output    {other}\n" in planned.stdout
    assert not other.exists()
    ran = call("run", job, "-o", other, "--quiet")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")
    assert not (tmp_path / "out").exists()
    answer = json.loads(call("run", job, "--output", other, "--json").stdout)
    assert (
        answer.pop("dataset_id") == json.loads(call("status", other, "--json").stdout)["dataset_id"]
    )
    size = sum(tar.stat().st_size for tar in other.rglob("*.tar"))
    assert answer == {
        "output": str(other), "samples": 13, "samples_planned": 13, "shards": 3, "bytes": size,
        "warnings": [],
    }  # fmt: skip


def test_two_places_for_one_dataset_are_refused(tmp_path):
    refused = call("run", write_job(tmp_path), "-o", "there", "--set", "output.uri=here")
    assert refused.exit_code == 2
    assert refused.stderr == "error: -o: --set output.uri says where the dataset goes, too\n"


def test_schemas_are_written_once(tmp_path):
    assert call("schema", tmp_path / "schemas").stdout.startswith("wrote job.schema.json, ")
    assert call("schema", tmp_path / "schemas").stdout == "all schemas are up to date\n"


def test_a_plugin_in_the_folder_is_found(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from factory.generate.shapes import ShapesGenerator\n\n\nclass Mine(ShapesGenerator):\n"
        "    pass\n"
    )
    ran = call("run", write_job(tmp_path, {"dataset.generator": {"kind": "mine:Mine"}}))
    assert ran.exit_code == 0


def test_a_shortfall_is_told_with_what_to_do(tmp_path):
    call("run", write_job(tmp_path))
    tables = sorted((tmp_path / "out/meta/train").iterdir())
    values = sorted(v for t in tables for v in pq.read_table(t)["confidence"].to_pylist())
    settings = {
        "dataset.accept": {"min_confidence": (values[1] + values[2]) / 2},
        "output.uri": str(tmp_path / "choosy"),
    }
    ran = call("run", write_job(tmp_path, settings))
    assert ran.exit_code == 0
    assert ran.stdout.startswith("11 pairs in 3 shards: ")
    short = (
        "2 fewer than asked for, because samples were rejected; see `factory status`, then "
        "raise dataset.num_samples"
    )
    assert ran.stderr.splitlines()[-1] == f"warning: {short}"
    quiet = call("run", tmp_path / "job.yaml", "-q")
    assert (quiet.stdout, quiet.stderr) == ("", f"warning: {short}\n")
    assert json.loads(call("run", tmp_path / "job.yaml", "--json").stdout)["warnings"] == [short]


REFUSALS = {
    "a setting is wrong": ({"dataset.num_samples": 0}, 2, "job.yaml: 1 problem\n"),
    "weights are missing": (
        {"dataset.generator": {"kind": "stylegan2", "weights": "none"}},
        2,
        "error: dataset.generator.weights: no file 'none' in the job's folder, or else in ",
    ),
    "a plugin is unknown": (
        {"dataset.generator": {"kind": "shape"}},
        3,
        "error: no generator named 'shape'; ",
    ),
    "nothing is accepted": (
        {"dataset.accept": {"class_share": {0: [0, 0.001]}}},
        5,
        "3 of 3 shards are in quarantine",
    ),
    "the scheme is unknown": ({"output.uri": "ftp://x/y"}, 6, "error: output.uri: found 'ftp://"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_run_ends_with_the_exit_code_of_its_error_and_one_message(tmp_path, case):
    overrides, code, text = REFUSALS[case]
    result = call("run", write_job(tmp_path, overrides))
    assert result.exit_code == code, result.output
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("FactoryError", 1, "error: on purpose"),
        ("JobError", 2, "error: on purpose"),
        ("PluginError", 3, "error: on purpose"),
        ("ShardError", 4, "error: on purpose"),
        ("StoreError", 6, "error: on purpose"),
        ("Interrupted", 75, "on purpose"),
    ],
)
def test_whatever_a_plugin_raises_on_purpose_sets_the_exit_code(tmp_path, kind, code, line):
    settings = plugin(tmp_path, f"raises_{kind.lower()}", f"raise errors.{kind}('on purpose')")
    result = call("run", write_job(tmp_path, settings))
    assert result.exit_code == code, result.output
    assert result.stderr.splitlines()[-1] == line


def test_a_keyboard_interrupt_is_a_stop(tmp_path):
    settings = plugin(tmp_path, "is_interrupted", "raise KeyboardInterrupt")
    result = call("run", write_job(tmp_path, settings))
    assert result.exit_code == 75
    assert result.stderr.splitlines()[-1] == "stopped: run the same command again to resume"


def test_a_bug_is_shown_in_full(tmp_path):
    settings = plugin(tmp_path, "has_a_bug", "return 1 / 0")
    result = call("run", write_job(tmp_path, settings))
    assert result.exit_code == 1
    assert "Traceback (most recent call last):" in result.stderr.splitlines()
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_a_bug_is_shown_without_the_secrets_of_addresses(tmp_path):
    body = "raise ZeroDivisionError('at https://me:SECRET@host/x?key=SECRET')"
    result = call("run", write_job(tmp_path, plugin(tmp_path, "tells_its_secret", body)))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "ZeroDivisionError: at https://host/x"
    assert "SECRET@" not in result.stderr


@pytest.mark.parametrize("limit_kib", [300_000, 700_000])
def test_too_little_room_for_addresses_is_one_line(tmp_path, limit_kib):
    command = f"ulimit -v {limit_kib}; exec {sys.executable} -m factory run {write_job(tmp_path)}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    limit_mib = limit_kib // 1024
    assert f"error: out of memory: this process may use {limit_mib} MiB of" in found.stderr


def test_samples_that_are_all_alike_are_told_by_plan_and_run(tmp_path):
    job = write_job(tmp_path, {"dataset.latents.truncation_psi": 0})
    words = "dataset.latents.truncation_psi is 0: all samples of a class are alike"
    assert f"warning   {words}" in call("plan", job).stdout
    ran = call("run", job)
    assert ran.exit_code == 0
    assert [line.split()[1] for line in ran.stderr.splitlines() if words in line] == ["warning"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_an_output_that_is_a_link_to_nothing_is_told_before_anything_is_fitted(tmp_path, command):
    (tmp_path / "out").symlink_to(tmp_path / "not-mounted")
    result = call(command, write_job(tmp_path))
    assert result.exit_code == 6
    assert result.stderr == (
        f"error: {tmp_path}/out: a link to {tmp_path}/not-mounted, which is not there; mount it or "
        "make that folder, or remove the link; then run the command again\n"
    )


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_file_address_of_another_machine_is_refused_and_nothing_is_made(tmp_path, command):
    job = write_job(tmp_path, {"output.uri": "file://host/x"})
    result = call(command, job)
    assert result.exit_code == 6
    assert "where 'host' is the name of a machine" in result.stderr
    assert not (tmp_path / "host").exists()


def test_damage_has_an_exit_code_of_its_own(tmp_path):
    call("run", write_job(tmp_path))
    (tmp_path / "out/data/train/tiny-000000.tar").unlink()
    result = call("verify", tmp_path / "out")
    assert result.exit_code == 7
    assert result.stdout == ("data/train/tiny-000000.tar: missing, though its receipt is there\n")
    assert result.stderr == (
        f"error: {tmp_path}/out: 1 problem; `factory repair {tmp_path}/out` says what to do about "
        "each\n"
    )
    as_json = call("verify", tmp_path / "out", "--json")
    assert as_json.exit_code == 7
    missing = {
        "path": "data/train/tiny-000000.tar", "kind": "missing",
        "found": "missing, though its receipt is there", "remedy": "", "sample": "",
    }  # fmt: skip
    assert json.loads(as_json.stdout)["problems"] == [missing]
    error = json.loads(as_json.stderr)
    assert error["message"] == result.stderr.removeprefix("error: ").rstrip()
    assert (error["error"], error["where"]) == ("DamageError", f"{tmp_path}/out")
    assert (error["found"], error["problems"]) == ("1 problem", [missing])


def test_a_refused_job_is_told_as_fields_to_a_script(tmp_path):
    job = write_job(tmp_path, {"dataset.num_samples": 0, "dataset.sed": 1})
    words = call("plan", job)
    refused = call("plan", job, "--json")
    assert (refused.exit_code, refused.stdout) == (2, "")
    error = json.loads(refused.stderr.splitlines()[-1])
    assert f"error: {error['message']}\n" == words.stderr
    assert (error["error"], error["where"], error["found"]) == ("JobError", job, "2 problems")
    assert error["problems"][0] == {
        "path": "dataset.num_samples", "kind": "value", "found": "0", "suggestion": "",
        "allowed": "input should be greater than or equal to 1",
    }  # fmt: skip
    unknown = error["problems"][1]
    assert (unknown["path"], unknown["kind"]) == ("dataset.sed", "unknown_key")
    assert unknown["allowed"].startswith("known here: accept, agreement, batch_size, ")


@pytest.mark.parametrize(
    "words",
    [
        "plan JOB",
        "fit JOB",
        "run JOB",
        "sample JOB",
        "status JOB",
        "doctor JOB",
        "label JOB",
        "label here.safetensors JOB",
        "train-generator JOB",
        "judge-generator JOB shipped:blood_cells",
        "pack-training JOB -o packed",
    ],
)
def test_an_address_in_place_of_a_job_file_is_refused_with_what_to_do(tmp_path, words):
    (tmp_path / "here.safetensors").touch()
    refused = call(*words.replace("JOB", "s3://bucket/job.yaml").split())
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: s3://bucket/job.yaml: found an address; a ")
    assert "is a local file; download it first (`factory grow`, and commands" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["status"],
        ["verify"],
        ["preview"],
        ["repair"],
        ["gc"],
        ["serve"],
        ["quarantine", "list"],
        ["quarantine", "retry"],
        ["eval", "masks", "--reference", "generator"],
        ["export", "coco", "-o", "there"],
    ],
)
def test_a_folder_without_a_dataset_is_refused(tmp_path, words):
    result = call(*words, tmp_path)
    assert result.exit_code == 6
    strange = f"error: {tmp_path}: no dataset here; make one with `factory run JOB`\n"
    assert result.stderr == strange


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    call("run", write_job(tmp_path))
    result = call("preview", tmp_path / "out", "-o", tmp_path / "none" / "p.png")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {tmp_path}/none/p.png: cannot write (No such file or directory); give another path\n"
    )
    (tmp_path / "file").touch()
    result = call("replay", tmp_path / "out", "000000000", "-o", tmp_path / "file")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: {tmp_path}/file: cannot write (File exists); give another folder\n"
    )


@pytest.mark.parametrize("words", [["run"], ["nonsense"], ["run", "--nonsense", "x"]])
def test_wrong_words_are_refused(words):
    assert call(*words).exit_code == 2


def test_a_round_is_kept_as_readable_json(tmp_path):
    call("run", write_job(tmp_path))
    text = (tmp_path / "out/plan/round-0000.json").read_text()
    assert Round.model_validate_json(text).num_samples == 13
    assert text.count("\n") > 10


def test_repair_says_what_it_would_do_and_does_it_when_told(tmp_path):
    job, out = write_job(tmp_path), tmp_path / "out"
    call("run", job)
    assert call("repair", out).stdout == "nothing to do\n"
    (out / "receipts/0000/000001.json").unlink()
    line = "data/train/tiny-000001.tar: whole, but without a receipt; write its receipt\n"
    told = call("repair", out)
    assert told.stdout == line + "1 things to do; nothing is done without --yes\n"
    assert "shards       2 of 3 committed" in call("status", out).stdout
    assert json.loads(call("repair", out, "--json").stdout) == [
        {
            "path": "data/train/tiny-000001.tar",
            "kind": "no_receipt",
            "found": "whole, but without a receipt",
            "remedy": "write its receipt",
            "sample": "",
            "done": False,
        }
    ]
    assert call("repair", out, "--yes").stdout == line
    assert call("verify", "--deep", out).stdout == "3 shards, 13 samples: all good\n"


def test_gc_leaves_what_is_young(tmp_path):
    job, out = write_job(tmp_path), tmp_path / "out"
    call("run", job)
    (out / "data/train/stranger.tar").write_bytes(b"")
    assert call("gc", out).stdout == "nothing to do\n"
    told = call("gc", job, "--older-than-h", "0")
    assert told.stdout.startswith("data/train/stranger.tar: no receipt names it; remove it\n")
    call("gc", job, "--older-than-h", "0", "--yes")
    assert not (out / "data/train/stranger.tar").exists()


def test_a_shard_in_quarantine_stays_there_until_it_is_released(tmp_path):
    broken = plugin(tmp_path, "sick", "raise errors.ShardError('never')")
    (tmp_path / "sick.py").write_text(
        "from pathlib import Path\n"
        "from factory.generate.shapes import ShapesGenerator\n\n\n"
        "class make(ShapesGenerator):\n"
        "    def generate(self, latents, layers):\n"
        "        if 5 in latents.indices and not Path('cured').exists():\n"
        "            raise ZeroDivisionError('at sample 5')\n"
        "        return super().generate(latents, layers)\n"
    )
    job, out = write_job(tmp_path, broken), tmp_path / "out"
    call("fit", job)
    ran = call("run", job)
    assert ran.exit_code == 5
    last = ran.stderr.splitlines()[-1]
    assert last == (
        f"error: {out}: 1 of 3 shards are in quarantine, the first is tiny-000001 (ZeroDivisionError: "
        f"at sample 5); the rest is committed: mend the cause, then `factory quarantine retry {out}` "
        "and run the job again"
    )
    listed = "tiny-000001  failed 3 times  ZeroDivisionError: at sample 5\n"
    assert call("quarantine", "list", out).stdout == listed
    assert json.loads(call("quarantine", "list", job, "--json").stdout)[0]["attempt"] == 3
    (tmp_path / "cured").touch()
    again = call("run", job)
    assert again.exit_code == 5
    assert "shard_retry" not in again.stderr
    refused = call("quarantine", "retry", out, "tiny-000007")
    assert refused.exit_code == 2
    assert refused.stderr == "error: tiny-000007: not in quarantine; there: tiny-000001\n"
    assert call("quarantine", "retry", out, "tiny-000001").stdout == (
        "1 shards released; run the job again\n"
    )
    assert call("run", job).exit_code == 0
    for word in ("list", "retry"):
        assert call("quarantine", word, out).stdout == "no shard is in quarantine\n"
    assert json.loads(call("quarantine", "retry", out, "--json").stdout) == {"released": []}
    refused = call("quarantine", "retry", out, "tiny-000001")
    assert refused.stderr == "error: tiny-000001: not in quarantine; no shard is\n"
    assert call("verify", "--deep", out).exit_code == 0


def test_doctor_tells_in_words_and_as_json_and_fails_when_something_would(tmp_path):
    good = call("doctor", write_job(tmp_path))
    assert good.exit_code == 0
    assert "ok       output: exclusive create    1 of 8 concurrent writes succeeds\n" in good.stdout
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    bad = call("doctor", "--json", write_job(tmp_path, {"output.uri": str(tmp_path / "file/x")}))
    assert bad.exit_code == 6
    states = {check["name"]: check["state"] for check in json.loads(bad.stdout)}
    assert states["output: write"] == "fails"
    count = len(states)
    assert json.loads(bad.stderr)["message"] == f"1 of {count} checks fail: output: write"
    (failing,) = [check for check in json.loads(bad.stdout) if check["state"] == "fails"]
    assert failing["kind"] == "output"
    assert failing["remedy"] == "choose an output.uri whose parents are folders"
    assert call("doctor").exit_code == 0


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("nofile", "nofile: cannot be read (no such file or directory); check the path"),
        (
            "https://a.test/g.pt",
            "https://a.test/g.pt: an address; files on this machine; download it, and give the "
            "file's path",
        ),
        ("shipped:cats", "FILE: nothing shipped as 'cats'; shipped: blood_cells"),
    ],
)
def test_a_checkpoint_that_is_no_file_here_is_told_with_what_to_do(file, told):
    for command in (["inspect", file], ["convert", file, "-o", "x.safetensors"]):
        refused = call(*command)
        assert (refused.exit_code, refused.stderr) == (2, f"error: {told}\n")


def test_shipped_weights_are_shown_and_copied_by_their_name(tmp_path):
    shown = call("inspect", "shipped:blood_cells", "--json")
    found = json.loads(shown.stdout)
    assert (found["family"], found["resolution"], found["num_classes"]) == ("stylegan2", 64, 5)
    copied = call("convert", "shipped:blood_cells", "-o", str(tmp_path / "g.safetensors"))
    assert copied.exit_code == 0
    again = json.loads(call("inspect", str(tmp_path / "g.safetensors"), "--json").stdout)
    assert again["layers"] == found["layers"]

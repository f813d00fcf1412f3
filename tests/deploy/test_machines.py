"""Clusters of virtual machines, cron and systemd."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from factory.spec.changes import read_changes

sys.path.insert(0, str(Path(__file__).parent))
from manifests import DEPLOY

VMS = DEPLOY / "vms"


@pytest.mark.parametrize("name", ["aws", "on_premise"])
def test_ray_up_takes_the_file(name):
    config = prepare_config(yaml.safe_load((VMS / f"{name}.yaml").read_text()))
    validate_config(config)
    assert config["cluster_name"] == "maskfactory"


def test_ray_up_refuses_a_file_with_a_misspelt_key():
    config = yaml.safe_load((VMS / "aws.yaml").read_text()) | {"max_worker": 3}
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(config))


def test_the_head_of_a_cloud_cluster_makes_no_shards_and_workers_come_and_go():
    types = yaml.safe_load((VMS / "aws.yaml").read_text())["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert types["gpu"]["min_workers"] == 0
    profiles = {t["node_config"]["IamInstanceProfile"]["Name"] for t in types.values()}
    passed = json.loads((VMS / "iam-head.json").read_text())["Statement"][-1]["Resource"]
    assert profiles == {"maskfactory-head", "maskfactory-worker"}
    assert passed.endswith("role/maskfactory-worker")


def test_a_dataset_s_policy_names_one_prefix_and_no_wildcard_of_actions():
    policy = json.loads((VMS / "iam-dataset.json").read_text())
    for statement in policy["Statement"]:
        resources = statement["Resource"]
        for resource in [resources] if isinstance(resources, str) else resources:
            assert resource == "arn:aws:s3:::my-bucket" or resource.startswith(
                "arn:aws:s3:::my-bucket/cells/"
            )
        assert not any("*" in action for action in statement["Action"])


def schedule_lines():
    for path in (VMS / "crontab", DEPLOY / "slurm" / "scrontab"):
        for line in path.read_text().splitlines():
            if re.match(r"\d+ \d+ \* \* \* ", line):
                yield path.name, line


def test_lines_of_cron_escape_what_cron_makes_a_newline_of():
    lines = dict(schedule_lines())
    assert set(lines) == {"crontab", "scrontab"}
    for line in lines.values():
        assert not re.search(r"(?<!\\)%", line)
        assert read_changes(re.findall(r"--set (\S+)", line)).add == 1000


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_service_and_timer():
    units = [str(VMS / f"maskfactory-nightly.{kind}") for kind in ("service", "timer")]
    ran = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    said = [line for line in ran.stderr.splitlines() if "maskfactory" in line]
    # The program is not installed here.
    assert not [line for line in said if "is not executable" not in line], ran.stderr

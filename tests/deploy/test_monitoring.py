"""Dashboard and alerts ask for metrics that exist, in PromQL that parses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import promql_parser
import pytest
import yaml
from cloudcoil.models.prometheus_operator.v1 import PrometheusRule, ServiceMonitor
from small_job import make_small

from factory.run.push import MetricsPusher
from factory.serve.metrics import encode_metrics
from factory.serve.view import DatasetView
from factory.store import open_store

sys.path.insert(0, str(Path(__file__).parent))
from manifests import KUBERNETES, read_all, render

DASHBOARD = json.loads((KUBERNETES / "monitoring" / "dashboard.json").read_text())
(ALERTS,) = read_all(KUBERNETES / "monitoring" / "alerts.yaml")
RULES = [rule for group in ALERTS["spec"]["groups"] for rule in group["rules"]]
PANELS = [(p["title"], t["expr"]) for p in DASHBOARD["panels"] for t in p["targets"]]
EXPRESSIONS = [*PANELS, *((rule["alert"], rule["expr"]) for rule in RULES)]


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    """Every metric with its labels, from a service and from a push."""
    folder = tmp_path_factory.mktemp("monitoring")
    make_small(folder, {"dataset.coverage": {"min_samples": {"cluster_01": 5}, "budget": 100}})
    text = encode_metrics(DatasetView(open_store(str(folder / "out"))).snapshot())
    text += "factory_run_exit_code 0\nfactory_run_finished_seconds 0\n"
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})?", line).groups()
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    found["factory_rejected_total"] = {"reason"}  # nothing is rejected here
    declared = set(re.findall(r"# TYPE (\w+)", text))
    return {name: found.get(name, set()) for name in declared | set(found)}


def test_the_names_of_pushed_metrics_are_those_of_the_code():
    source = Path(sys.modules[MetricsPusher.__module__].__file__).read_text()
    assert {"factory_run_exit_code", "factory_run_finished_seconds"} <= set(
        re.findall(r"factory_run_\w+", source)
    )


@pytest.mark.parametrize(("what", "expression"), EXPRESSIONS)
def test_every_expression_parses_and_asks_for_what_there_is(metrics, what, expression):
    promql_parser.parse(expression)
    names = set(re.findall(r"\bfactory_\w+", expression))
    assert names
    assert names <= set(metrics), names - set(metrics)


def test_labels_in_titles_are_labels_of_the_metrics(metrics):
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            known = {"job", "instance", "dataset"}  # of the scrape, or of the group that is pushed
            for name in re.findall(r"\bfactory_\w+", target["expr"]):
                known |= metrics[name]
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= known


def test_states_that_are_asked_for_exist(metrics):
    from factory.serve.facts import _STATES

    for _, expression in EXPRESSIONS:
        for states in re.findall(r'state=~?"([\w|]+)"', expression):
            assert set(states.split("|")) <= set(_STATES)


def test_panels_do_not_overlap_and_have_their_own_ids():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & mine, panel["title"]
        cells |= mine


def test_rules_and_monitor_have_the_form_of_the_operator():
    PrometheusRule.model_validate(ALERTS)
    (monitor,) = read_all(KUBERNETES / "monitoring" / "servicemonitor.yaml")
    ServiceMonitor.model_validate(monitor)
    with pytest.raises(ValueError, match="validation error"):
        PrometheusRule.model_validate({**ALERTS, "spec": {"groups": [{"rules": []}]}})


def test_every_alert_says_what_to_do():
    assert len({rule["alert"] for rule in RULES}) == len(RULES) == 5
    for rule in RULES:
        assert {"summary", "action"} <= set(rule["annotations"])


def test_the_monitor_finds_the_service_and_knows_its_token():
    served = render(KUBERNETES / "serve")
    (kustomization,) = read_all(KUBERNETES / "serve" / "kustomization.yaml")
    (monitor,) = read_all(KUBERNETES / "monitoring" / "servicemonitor.yaml")
    assert kustomization["labels"][0]["pairs"] == monitor["spec"]["selector"]["matchLabels"]
    (port,) = served["Service", "maskfactory-serve"]["spec"]["ports"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")
    container = served["Deployment", "maskfactory-serve"]["spec"]["template"]["spec"]["containers"][
        0
    ]
    (token,) = [entry for entry in container["env"] if entry["name"] == "FACTORY_SERVE_TOKEN"]
    assert endpoint["authorization"]["credentials"] == token["valueFrom"]["secretKeyRef"]


PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="needs promtool, of Debian's prometheus"
)
SERIES = {  # a sample a minute
    'factory_shards{job="f", instance="stalled", state="planned"}': "5x2400",
    'factory_samples_total{job="f", instance="stalled"}': "0 100 200x2398",
    'factory_shards{job="f", instance="busy", state="planned"}': "5x2400",
    'factory_samples_total{job="f", instance="busy"}': "0+10x2400",
    'factory_shards{job="f", instance="stalled", state="quarantined"}': "2x2400",
    'factory_shards{job="f", instance="busy", state="quarantined"}': "0x2400",
    'factory_target_have{job="f", instance="busy", target="hat"}': "3x2400",
    'factory_target_wanted{job="f", instance="busy", target="hat"}': "9x2400",
    'factory_target_have{job="f", instance="busy", target="eye"}': "9x2400",
    'factory_target_wanted{job="f", instance="busy", target="eye"}': "9x2400",
    'factory_budget_left_images{job="f", instance="busy"}': "0x2400",
    'factory_run_exit_code{dataset="broken"}': "5x2400",
    'factory_run_exit_code{dataset="stopped"}': "75x2400",
    'factory_run_exit_code{dataset="whole"}': "0x2400",
    'factory_run_finished_seconds{dataset="old"}': "0x2400",
    'factory_run_finished_seconds{dataset="new"}': "0+60x2400",
}
STALLED, BUSY = ({"job": "f", "instance": name} for name in ("stalled", "busy"))
EXPECTED = [
    ("3h", "MaskfactoryStalled", [STALLED]),
    ("3h", "MaskfactoryQuarantine", [STALLED | {"state": "quarantined"}]),
    ("3h", "MaskfactoryTargetMissed", [BUSY | {"target": "hat"}]),
    ("3h", "MaskfactoryRunFailed", [{"dataset": "broken"}]),
    ("35h", "MaskfactoryNoRun", []),
    ("37h", "MaskfactoryNoRun", [{"dataset": "old"}]),
]


def promtool(*arguments):
    ran = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@needs_promtool
def test_prometheus_takes_the_rules(tmp_path):
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(ALERTS["spec"]))
    assert "5 rules found" in promtool("check", "rules", str(rules))


@needs_promtool
def test_every_alert_fires_where_it_should_and_nowhere_else(tmp_path):
    bare = [{k: v for k, v in rule.items() if k != "annotations"} for rule in RULES]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "maskfactory", "rules": bare}]}))
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in RULES}
    checks = [
        {
            "eval_time": when,
            "alertname": alert,
            "exp_alerts": [
                {"exp_labels": {"severity": severity[alert]} | found} for found in wanted
            ],
        }
        for when, alert, wanted in EXPECTED
    ]
    assert {alert for _, alert, _ in EXPECTED} == set(severity)
    series = [{"series": name, "values": values} for name, values in SERIES.items()]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": checks}
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(rules)], "tests": [test]}))
    promtool("test", "rules", str(path))

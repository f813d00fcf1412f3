"""Kubernetes manifests, held to the schemas of Kubernetes and KubeRay, and to this package."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from factory.spec.read import check_job, load_job
from factory.spec.yaml_text import parse_yaml

sys.path.insert(0, str(Path(__file__).parent))
from manifests import DEPLOY, KUBERNETES, render

sys.path.insert(0, str(KUBERNETES / "raycronjob"))
import make as make_ray_cron_job

HERE = Path(__file__).parent
OVERLAYS = ("cpu", "gpu", "spot")
RELEASE = "1.33"
RELEASES_OF_KUBERAY = ("v1.6.2", "v1.7.0")
FOLDERS = [*(KUBERNETES / "overlays" / name for name in OVERLAYS), KUBERNETES / "serve"]


def rayjob(overlay):
    return render(KUBERNETES / "overlays" / overlay)["RayJob", "maskfactory-template"]


def spec_of(overlay):
    return rayjob(overlay)["spec"]


def pods(document):
    """Every pod template in a manifest."""
    if isinstance(document, dict):
        if isinstance(document.get("template"), dict) and "containers" in document["template"].get(
            "spec", {}
        ):
            yield document["template"]
        for value in document.values():
            yield from pods(value)
    elif isinstance(document, list):
        for value in document:
            yield from pods(value)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_plain_kinds_have_the_form_of_kubernetes(folder):
    documents = [d for d in render(folder).values() if d["kind"] != "RayJob"]
    assert documents
    for document in documents:
        if document["kind"] == "Deployment":  # kustomize adds the selector with the labels
            document["spec"]["selector"] = {"matchLabels": {"a": "b"}}
            document["spec"]["template"]["metadata"] = {"labels": {"a": "b"}}
        kubernetes_validate.validate(document, RELEASE, strict=True)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_pod_has_the_form_of_kubernetes(folder):
    found = [pod for document in render(folder).values() for pod in pods(document)]
    assert len(found) == (
        1 if folder.name == "serve" else 3
    )  # head, workers, and what starts a night
    for pod in found:
        whole = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod["spec"]}
        kubernetes_validate.validate(whole, RELEASE, strict=True)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_pod_is_bounded_unprivileged_and_sees_volumes_that_exist(folder):
    for document in render(folder).values():
        for pod in pods(document):
            spec = pod["spec"]
            assert spec["securityContext"]["runAsNonRoot"] is True
            volumes = {volume["name"] for volume in spec["volumes"]}
            for container in spec["containers"]:
                assert {"cpu", "memory"} <= set(container["resources"]["limits"])
                assert {"cpu", "memory"} <= set(container["resources"]["requests"])
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
                assert re.fullmatch(r"[^:]+/maskfactory:[0-9.]+-(cpu|cuda)", container["image"])


def _schema_of_kuberay(release, kind):
    data = gzip.decompress((HERE / "kuberay" / f"{release}.json.gz").read_bytes())
    schema = _strict(json.loads(data)[kind])
    schema["properties"]["metadata"] = {}
    return Draft202012Validator(schema)


def _strict(schema):
    """No field that the CRD does not have: a server would drop it in silence."""
    if isinstance(schema, list):
        return [_strict(value) for value in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _strict(value) for name, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("type", None)
    return schema


@pytest.mark.parametrize("release", RELEASES_OF_KUBERAY)
def test_rayjobs_have_the_form_of_kuberay(release):
    jobs = _schema_of_kuberay(release, "rayjobs")
    nightly = _schema_of_kuberay(release, "raycronjobs")
    for overlay in OVERLAYS:
        job = rayjob(overlay)
        jobs.validate(job)
        nightly.validate(make_ray_cron_job.ray_cron_job(job))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 1
    with pytest.raises(ValidationError, match="'maxReplica' was unexpected"):
        jobs.validate(job)


@pytest.mark.skipif(
    not shutil.which("kubectl"), reason="needs kubectl, whose kustomize is the real one"
)
@pytest.mark.parametrize(
    "folder", [*FOLDERS, KUBERNETES / "monitoring"], ids=lambda folder: folder.name
)
def test_kustomize_gives_what_these_tests_looked_at(folder):
    ran = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True
    )
    real = {(d["kind"], d["metadata"]["name"]): d for d in yaml.safe_load_all(ran.stdout)}
    ours = render(folder)
    assert set(real) == set(ours)
    for key in ours:
        assert real[key]["metadata"]["namespace"] == "maskfactory"
        part = "data" if key[0] == "ConfigMap" else "rules" if key[0] == "Role" else "spec"
        if key[0] not in ("Deployment", "Service"):
            assert real[key].get(part) == ours[key].get(part)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_job_of_every_overlay_is_valid_and_fits_its_workers(overlay, tmp_path):
    rendered = render(KUBERNETES / "overlays" / overlay)
    text = rendered["ConfigMap", "maskfactory-job"]["data"]["job.yaml"]
    job = check_job(parse_yaml(text), source=overlay)
    (workers,) = spec_of(overlay)["rayClusterSpec"]["workerGroupSpecs"]
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert (job.run.address, job.run.num_actors) == ("auto", "auto")
    per_node = int(limits["cpu"]) // job.run.threads_per_actor
    if overlay != "cpu":
        assert job.run.gpus_per_actor > 0
        per_node = int(int(limits["nvidia.com/gpu"]) / job.run.gpus_per_actor)
    assert job.run.max_actors == workers["maxReplicas"] * per_node


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_night_grows_from_no_node_ends_in_time_and_is_cleaned_up(overlay):
    spec = spec_of(overlay)
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == 0
    assert spec["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    assert spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert 0 < spec["activeDeadlineSeconds"] < 24 * 3600
    assert spec["shutdownAfterJobFinishes"] is True  # KubeRay requires it of what is suspended
    for pod in pods(spec):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        mounts = pod["spec"]["containers"][0]["volumeMounts"]
        assert {"name": "shm", "mountPath": "/dev/shm"} in mounts


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_node_that_goes_is_drained_before_its_pod_is_killed(overlay):
    for pod in pods(spec_of(overlay)["rayClusterSpec"]["workerGroupSpecs"]):
        env = {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}
        drain_s = int(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert drain_s < pod["spec"]["terminationGracePeriodSeconds"] <= 120


def test_only_workers_go_to_nodes_that_can_be_taken_away():
    cluster = spec_of("spot")["rayClusterSpec"]
    head = cluster["headGroupSpec"]["template"]["spec"]["nodeSelector"]
    worker = cluster["workerGroupSpecs"][0]["template"]["spec"]
    assert head == {"karpenter.sh/capacity-type": "on-demand"}
    assert worker["nodeSelector"]["karpenter.sh/capacity-type"] == "spot"
    assert {entry["key"] for entry in worker["tolerations"]} == {"nvidia.com/gpu", "spot"}


def test_what_starts_a_night_may_read_the_template_and_create_and_nothing_else():
    role = render(KUBERNETES / "schedule")["Role", "maskfactory-schedule"]
    granted = [(r["resources"], r.get("resourceNames"), r["verbs"]) for r in role["rules"]]
    assert granted == [
        (["rayjobs"], ["maskfactory-template"], ["get"]),
        (["rayjobs"], None, ["create"]),
    ]
    cron = render(KUBERNETES / "schedule")["CronJob", "maskfactory-nightly"]["spec"]
    assert cron["concurrencyPolicy"] == "Forbid"


def test_jobs_and_docs_name_files_that_exist():
    readme = (DEPLOY / "README.md").read_text()
    for path in set(re.findall(r"`(deploy/[\w./-]+)`", readme)):
        assert (DEPLOY.parent / path).exists(), path


def test_every_file_is_named_in_the_readme():
    readme = (DEPLOY / "README.md").read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".pyc" and path.name != "README.md":
            assert path.name in readme, path


def test_the_example_of_a_big_job_is_valid():
    job = load_job(DEPLOY.parent / "jobs" / "ffhq_100k.yaml")
    assert json.loads(job.model_dump_json())["run"]["address"] == "auto"

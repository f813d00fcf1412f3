"""Write a RayCronJob from the template RayJob among the YAML on standard input (needs PyYAML).

    kubectl kustomize ../overlays/gpu | python3 make.py | kubectl apply -f -

KubeRay 1.6 and later; alpha: the operator needs the feature gate RayCronJob=true. Two differences to the
CronJob of `schedule/`, which is to be preferred: nothing forbids overlapping nights, which is safe and
wasteful, and the key is the date on which an attempt starts, so that a retry after midnight plans another
step.
"""

import sys

import yaml

SCHEDULE = {
    "schedule": "0 2 * * *"
}  # in the operator's time zone; KubeRay 1.7 also takes `timeZone`


def ray_cron_job(template: dict) -> dict:
    """A RayCronJob whose jobs are copies of `template`, awake, with the day's date as key."""
    spec = dict(template["spec"])
    del spec["suspend"]
    spec["entrypoint"] = spec["entrypoint"].replace("STEP_KEY", '"$(date -u +%F)"')
    metadata = {"name": "maskfactory-nightly"}
    if "namespace" in template["metadata"]:
        metadata["namespace"] = template["metadata"]["namespace"]
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayCronJob",
        "metadata": metadata,
        "spec": {**SCHEDULE, "jobTemplate": spec},
    }


if __name__ == "__main__":
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    (found,) = [document for document in documents if document["kind"] == "RayJob"]
    yaml.safe_dump(ray_cron_job(found), sys.stdout, sort_keys=False)

"""Start one step of growth: copy the suspended template RayJob under the step's name, and wake the copy.

The name follows from the key, so that a step which was started already is not started again: the API
refuses a second RayJob of that name, and this script calls that success. Only the standard library is
used, and only two requests are made.

Exit codes: 0 the step is started, 1 the API does not answer (worth a retry), 2 it refuses (not worth one).
"""

import argparse
import datetime
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

TEMPLATE = "maskfactory-template"
PREFIX = "maskfactory-"
PLACEHOLDER = "STEP_KEY"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_S = 20


def key_of(job_name: str) -> str:
    """The date for which a CronJob scheduled a Job: its name ends with minutes since 1970.

    >>> key_of("maskfactory-nightly-29931960")
    '2026-11-29'
    """
    found = re.search(r"-(\d{7,9})$", job_name)
    if found is None:
        raise SystemExit(
            f"{job_name!r} does not end with the minute it was scheduled for; give --key"
        )
    minute = datetime.datetime.fromtimestamp(int(found[1]) * 60, datetime.timezone.utc)
    return minute.date().isoformat()


def copy_of(template: dict, key: str) -> dict:
    """The RayJob of a step: the template's spec, awake, with the step's key."""
    spec = dict(template["spec"], suspend=False)
    if PLACEHOLDER not in spec["entrypoint"]:
        raise SystemExit(
            f"the entrypoint of {TEMPLATE} has no {PLACEHOLDER}: each step needs its key"
        )
    spec["entrypoint"] = spec["entrypoint"].replace(PLACEHOLDER, key)
    spec.pop("jobId", None)
    return {
        "apiVersion": template["apiVersion"],
        "kind": template["kind"],
        "metadata": {
            "name": PREFIX + re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-"),
            "labels": dict(template["metadata"].get("labels", {}), **{"maskfactory/step": key}),
        },
        "spec": spec,
    }


def ask(url: str, token: str, context: "ssl.SSLContext | None", body: "dict | None" = None) -> dict:
    """GET, or POST with a body."""
    request = urllib.request.Request(url, method="GET" if body is None else "POST")
    request.add_header("Authorization", f"Bearer {token}")
    request.add_header("Accept", "application/json")
    data = None
    if body is not None:
        request.add_header("Content-Type", "application/json")
        data = json.dumps(body).encode()
    with urllib.request.urlopen(request, data, timeout=TIMEOUT_S, context=context) as answer:
        return json.load(answer)


def main() -> int:
    """Start the step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--key", help="the step; default: the date that $JOB_NAME was scheduled for"
    )
    parser.add_argument("--server", default="https://kubernetes.default.svc")
    parser.add_argument(
        "--account", type=Path, default=ACCOUNT, help="folder with token and ca.crt"
    )
    given = parser.parse_args()
    key = given.key or key_of(os.environ.get("JOB_NAME", ""))
    token = (given.account / "token").read_text().strip()
    authority = given.account / "ca.crt"
    context = ssl.create_default_context(cafile=str(authority)) if authority.exists() else None
    namespace = os.environ.get("NAMESPACE", "default")
    url = f"{given.server}/apis/ray.io/v1/namespaces/{namespace}/rayjobs"
    try:
        made = ask(url, token, context, copy_of(ask(f"{url}/{TEMPLATE}", token, context), key))
    except urllib.error.HTTPError as error:
        if error.code == 409:
            print(f"step {key} is started already")
            return 0
        print(
            f"step {key}: {error.code} {error.reason}: {error.read(500).decode()}", file=sys.stderr
        )
        return 1 if error.code == 429 or error.code >= 500 else 2
    except OSError as error:
        print(f"step {key}: no answer from {given.server}: {error}", file=sys.stderr)
        return 1
    print(f"step {key}: started {made['metadata']['name']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

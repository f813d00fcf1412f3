"""Encode the copy of a job that is stored in its dataset: secrets in addresses are removed."""

from factory.redact import redact_values
from factory.spec.job import JobSpec
from factory.spec.yaml_text import dump_yaml

TELLS = ("notify", "push_metrics")
"""Settings of `run` that name whom a run tells: often secrets, and of no use to others."""
_LEFT_OUT = (
    "# Users, passwords and queries of addresses were left out: they may be secrets. To fetch from\n"
    "# there again, write the whole address here, or the path of a file with the same sha256.\n"
)


def encode_job(spec: JobSpec) -> bytes:
    """Encode `spec` as YAML: the settings that were given, without defaults."""
    # Defaults are left out, so that the file shows what its author decided.
    document = spec.model_dump(mode="json", exclude_unset=True)
    for name in TELLS:
        document.get("run", {}).pop(name, None)
    kept = redact_values(document)
    note = _LEFT_OUT if kept != document else ""
    return (note + dump_yaml(kept)).encode()

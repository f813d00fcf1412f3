"""Weights that a job names by content: a stored job does not say in whose folder they lie."""

from factory.log import log_event
from factory.spec import GeneratorSpec
from factory.spec.shipped import SHIPPED_PREFIX
from factory.store.addresses import local_path
from factory.store.seen import find_place


def known_weights(spec: GeneratorSpec) -> GeneratorSpec:
    """`spec` with the path at which this machine saw its weights last, if its own leads nowhere."""
    if not spec.sha256 or spec.weights.startswith(SHIPPED_PREFIX):
        return spec
    try:
        path = local_path(spec.weights)
    except ValueError:  # whoever reads it says why
        return spec
    place = None if path is None or path.exists() else find_place(spec.sha256)
    if place is None:
        return spec
    log_event("weights_found", path=str(place), why=f"no file {spec.weights}; this is as it was")
    return spec.model_copy(update={"weights": str(place)})

"""The endpoints as data: routes and the OpenAPI document are generated from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from factory.serve.answers import (
    CoverageAnswer,
    Datasets,
    Failure,
    FoundSamples,
    Gallery,
    Rounds,
    SampleAnswer,
    Shards,
    Summary,
)
from factory.serve.history_answers import Failures, JobAnswer, PaceAnswer
from factory.serve.queries import (
    DatasetsQuery,
    FailuresQuery,
    GalleryQuery,
    PaceQuery,
    SearchQuery,
    ShardsQuery,
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the service."""

    path: str
    name: str
    summary: str
    answer: type[BaseModel] | str
    """The type of a JSON response, or the media type of another one."""
    query: type[BaseModel] | None = None


ENDPOINTS = (
    Endpoint("/v1/summary", "summary", "Progress, rate and state.", Summary),
    Endpoint("/v1/coverage", "coverage", "Classes, quality, latents and targets.", CoverageAnswer),
    Endpoint("/v1/rounds", "rounds", "Rounds with the states of their index ranges.", Rounds),
    Endpoint("/v1/shards", "shards", "Shards, a page at a time.", Shards, ShardsQuery),
    Endpoint("/v1/pace", "pace", "Rate, stages and workers over time.", PaceAnswer, PaceQuery),
    Endpoint("/v1/job", "job", "The job that the dataset was started with.", JobAnswer),
    Endpoint(
        "/v1/failures", "failures", "Failed attempts and quarantine.", Failures, FailuresQuery
    ),
    Endpoint(
        "/v1/samples",
        "samples",
        "Samples that match, by key, a page at a time; a request reads a bounded number of tables.",
        FoundSamples,
        SearchQuery,
    ),
    Endpoint("/v1/gallery", "gallery", "Samples for the gallery.", Gallery, GalleryQuery),
    Endpoint("/v1/samples/{key}", "sample", "A sample with all its facts.", SampleAnswer),
    Endpoint("/v1/samples/{key}/image.png", "image", "Its image.", "image/png"),
    Endpoint("/v1/samples/{key}/mask.png", "mask", "Its mask in colours.", "image/png"),
    Endpoint("/v1/samples/{key}/overlay.png", "overlay", "Its mask over its image.", "image/png"),
    Endpoint("/v1/samples/{key}/edited.png", "edited", "It after its edit.", "image/png"),
    Endpoint(
        "/v1/samples/{key}/edited_mask.png", "edited_mask", "That mask in colours.", "image/png"
    ),
    Endpoint(
        "/v1/samples/{key}/edited_overlay.png",
        "edited_overlay",
        "That mask over that image.",
        "image/png",
    ),
    Endpoint(
        "/v1/samples/{key}/tile.png",
        "tile",
        "Image and overlay, small; of an edited sample, the overlays before and after.",
        "image/png",
    ),
    Endpoint(
        "/v1/events",
        "events",
        "The summary when it changes (`summary`), and a heartbeat after 5 s of silence (`alive`).",
        "text/event-stream",
    ),
    Endpoint("/metrics", "metrics", "For Prometheus.", "text/plain"),
    Endpoint("/healthz", "health", "Whether the service is up; needs no token.", "text/plain"),
)
"""All endpoints except the page's files."""

FOLDER_ENDPOINTS = (
    Endpoint("/v1/datasets", "datasets", "The datasets in the folder.", Datasets, DatasetsQuery),
    Endpoint("/healthz", "health", "Whether the service is up; needs no token.", "text/plain"),
)
"""The endpoints of a folder of datasets, beside those of each dataset."""

_FAILURES = {
    "400": "A parameter or the Host header is not allowed.",
    "401": "A token is needed.",
    "404": "There is no such sample.",
    "405": "The service is read-only.",
    "413": "The service takes no body.",
    "414": "The address is too long.",
    "421": "The Host header names another host.",
    "429": "Too many requests.",
    "503": "There is no dataset yet, its store does not answer, or too many listen.",
}


def make_openapi(version: str, endpoints: Sequence[Endpoint] = ENDPOINTS) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service."""
    types = {e.answer for e in endpoints if isinstance(e.answer, type)} | {Failure}
    ordered = sorted(types, key=lambda kind: kind.__name__)
    refs, definitions = models_json_schema(
        [(kind, "serialization") for kind in ordered], ref_template="#/components/schemas/{model}"
    )
    by_type = {kind: refs[kind, "serialization"] for kind in ordered}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "maskfactory manifest service",
            "version": version,
            "description": "Progress, coverage and samples of a dataset; a read-only cache of it.",
        },
        "paths": {endpoint.path: {"get": _operation(endpoint, by_type)} for endpoint in endpoints},
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(endpoint: Endpoint, refs: dict[type[BaseModel], Any]) -> dict[str, Any]:
    is_type = isinstance(endpoint.answer, type)
    media = "application/json" if is_type else str(endpoint.answer)
    schema = refs[endpoint.answer] if isinstance(endpoint.answer, type) else {"type": "string"}
    failure = {"application/json": {"schema": refs[Failure]}}
    is_open: dict[str, Any] = {"security": []} if endpoint.name == "health" else {}
    return is_open | {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint),
        "responses": {
            "200": {"description": endpoint.summary, "content": {media: {"schema": schema}}},
            **{code: {"description": text, "content": failure} for code, text in _FAILURES.items()},
        },
    }


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if "{key}" in endpoint.path:
        key = {"type": "string", "pattern": "^[0-9]{9}$"}
        found.append({"name": "key", "in": "path", "required": True, "schema": key})
    if endpoint.query is not None:
        for name, schema in endpoint.query.model_json_schema()["properties"].items():
            options = [kind for kind in schema.pop("anyOf", []) if kind != {"type": "null"}]
            plain = {k: v for k, v in schema.items() if v is not None} | (options or [{}])[0]
            found.append({"name": name, "in": "query", "schema": plain})
    return found

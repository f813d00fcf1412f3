"""The service as an ASGI application: routes, and errors as status codes."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import BaseRoute, Route

from factory.errors import FactoryError
from factory.identity import is_key
from factory.serve.answers import Gallery
from factory.serve.docs_page import make_docs
from factory.serve.facts import describe_coverage, list_rounds, list_shards, summarize
from factory.serve.history import describe_job, describe_pace, list_failures
from factory.serve.metrics import CONTENT_TYPE, encode_metrics
from factory.serve.openapi import ENDPOINTS, Endpoint, make_openapi
from factory.serve.queries import FailuresQuery, GalleryQuery, PaceQuery, SearchQuery, ShardsQuery
from factory.serve.samples import SampleReader
from factory.serve.search import SampleSearch
from factory.serve.view import DatasetView, Snapshot
from factory.web.answers import first_problem, on_http_error, refuse
from factory.web.guard import Access, Guard

_PAGE = Path(__file__).parent / "page"
_PAGE_FILES = {
    "/": "index.html",
    "/dom.js": "dom.js",
    "/charts.js": "charts.js",
    "/gallery.js": "gallery.js",
    "/sample.js": "sample.js",
    "/page.js": "page.js",
    "/page.css": "page.css",
    "/icon.svg": "icon.svg",
}
_MOST_LISTENERS = 128
_PICTURES_AT_ONCE = 4
_SEARCHES_AT_ONCE = 4
_BEAT_S = 1.0
_QUIET_BEATS = 5
_TIMELESS = ("coverage", "pace latest_run", "pace all_runs")
_T = TypeVar("_T")


def make_app(view: DatasetView, *, token: str) -> Starlette:
    """Build the application for `view`; an empty `token` restricts it to the loopback address."""
    return guarded(dataset_routes(view), token)


def dataset_routes(view: DatasetView) -> list[Route]:
    """The endpoints of one dataset and its page."""
    service = _Service(view)
    routes = [Route(e.path, getattr(service, e.name), methods=["GET"]) for e in ENDPOINTS]
    return routes + api_routes(ENDPOINTS) + page_routes(_PAGE_FILES)


def api_routes(endpoints: Sequence[Endpoint]) -> list[Route]:
    """What describes the endpoints: to programs, and to people."""

    async def openapi(request: Request) -> Response:  # noqa: ARG001 - the same for all
        return JSONResponse(make_openapi(version("maskfactory"), endpoints))

    async def docs(request: Request) -> Response:  # noqa: ARG001
        return HTMLResponse(make_docs(version("maskfactory"), endpoints))

    paths = {"/v1/openapi.json": openapi, "/docs": docs}
    return [Route(path, answer, methods=["GET"]) for path, answer in paths.items()]


def page_routes(files: Mapping[str, str]) -> list[Route]:
    """Routes of the page's files, by path."""
    return [Route(path, partial(_page_file, name), methods=["GET"]) for path, name in files.items()]


def guarded(routes: Sequence[BaseRoute], token: str) -> Starlette:
    """An application with access control; an empty `token` restricts it to the loopback address."""
    access = Access(token, is_local=not token, leaves_cookie=True, health="/healthz")
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers=HANDLERS,
    )


class _Service:
    """One method per endpoint, of the same name."""

    def __init__(self, view: DatasetView) -> None:
        self._view = view
        self._reader = SampleReader(view.store)
        self._search = SampleSearch(view.store)
        self._listeners = 0
        self._drawing = asyncio.Semaphore(_PICTURES_AT_ONCE)
        self._searching = asyncio.Semaphore(_SEARCHES_AT_ONCE)
        self._answers: dict[tuple[Any, ...], BaseModel | str] = {}
        self._lock = threading.Lock()

    async def summary(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        return answer_of(await self._cached("summary", summarize))

    async def coverage(self, request: Request) -> Response:  # noqa: ARG002
        return answer_of(await self._cached("coverage", describe_coverage))

    async def rounds(self, request: Request) -> Response:  # noqa: ARG002
        return answer_of(await self._cached("rounds", list_rounds))

    async def shards(self, request: Request) -> Response:
        query = query_of(request, ShardsQuery)
        return answer_of(await self._of_snapshot(lambda snapshot: list_shards(snapshot, query)))

    async def gallery(self, request: Request) -> Response:
        query = query_of(request, GalleryQuery)

        def answer(snapshot: Snapshot) -> Gallery:
            return Gallery(pick=query.pick, tiles=self._reader.gallery(snapshot, query))

        return answer_of(await self._cached(query.model_dump_json(), answer))

    async def samples(self, request: Request) -> Response:
        query = query_of(request, SearchQuery)
        async with self._searching:
            found = await self._of_snapshot(lambda snapshot: self._search.find(snapshot, query))
        return answer_of(found)

    async def pace(self, request: Request) -> Response:
        query = query_of(request, PaceQuery)
        return answer_of(await self._cached(f"pace {query.of}", lambda s: describe_pace(s, query)))

    async def job(self, request: Request) -> Response:  # noqa: ARG002
        return answer_of(await self._cached("job", lambda _: describe_job(self._view.store)))

    async def failures(self, request: Request) -> Response:
        query = query_of(request, FailuresQuery)
        name = f"failures {query.model_dump_json()}"
        store = self._view.store
        return answer_of(await self._cached(name, lambda s: list_failures(store, s, query)))

    async def sample(self, request: Request) -> Response:
        key = _key(request)
        found = await self._of_snapshot(lambda snapshot: self._reader.describe(snapshot, key))
        return answer_of(found or _missing(key))

    async def image(self, request: Request) -> Response:
        return await self._picture(request, "image")

    async def mask(self, request: Request) -> Response:
        return await self._picture(request, "mask")

    async def overlay(self, request: Request) -> Response:
        return await self._picture(request, "overlay")

    async def edited(self, request: Request) -> Response:
        return await self._picture(request, "edited")

    async def edited_mask(self, request: Request) -> Response:
        return await self._picture(request, "edited_mask")

    async def edited_overlay(self, request: Request) -> Response:
        return await self._picture(request, "edited_overlay")

    async def tile(self, request: Request) -> Response:
        return await self._picture(request, "tile")

    async def events(self, request: Request) -> Response:
        if self._listeners >= _MOST_LISTENERS:
            raise HTTPException(503, f"{_MOST_LISTENERS} listen already; ask for /v1/summary")
        return StreamingResponse(self._stream(request), media_type="text/event-stream")

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        text = await self._cached("metrics", encode_metrics)
        return Response(text, media_type=CONTENT_TYPE)

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        return Response("ok\n", media_type="text/plain")

    async def _picture(self, request: Request, what: str) -> Response:
        key = _key(request)
        async with self._drawing:
            png = await self._of_snapshot(
                lambda snapshot: self._reader.picture(snapshot, key, what)
            )
        if png is None:
            _missing(key, "an edited sample" if what.startswith("edited") else "sample")
        return Response(png, media_type="image/png")

    async def _stream(self, request: Request) -> AsyncIterator[str]:
        """Server-sent events: the summary when it changes, and heartbeats for broken connections."""
        self._listeners += 1
        last, quiet = "", 0
        try:
            while not await request.is_disconnected():
                try:
                    text = (await self._cached("summary", summarize)).model_dump_json()
                except FactoryError:
                    text = last
                if text != last:
                    yield f"event: summary\ndata: {text}\n\n"
                    last, quiet = text, 0
                elif (quiet := quiet + 1) >= _QUIET_BEATS:
                    yield "event: alive\ndata: {}\n\n"
                    quiet = 0
                await asyncio.sleep(_BEAT_S)
        finally:
            self._listeners -= 1

    async def _of_snapshot(self, answer: Callable[[Snapshot], _T]) -> _T:
        return await run_in_threadpool(lambda: answer(self._view.snapshot()))

    async def _cached(self, name: str, answer: Callable[[Snapshot], _T]) -> _T:
        """Cache an answer for a second, so that concurrent clients share one computation."""
        found: _T = await run_in_threadpool(self._compute_once, name, answer)
        return found

    def _compute_once(self, name: str, answer: Callable[[Snapshot], Any]) -> Any:  # noqa: ANN401
        snapshot = self._view.snapshot()
        # Most answers depend on the snapshot alone; rates also change with time.
        second = 0 if name in _TIMELESS else int(time.monotonic())
        key = (snapshot.version, snapshot.in_flight, second, name)
        with self._lock:
            if key not in self._answers:
                if len(self._answers) > 64 or any(k[0] != key[0] for k in self._answers):
                    self._answers.clear()
                self._answers[key] = answer(snapshot)
            return self._answers[key]


def answer_of(answer: BaseModel) -> Response:
    """A response with an answer as JSON."""
    return Response(answer.model_dump_json(), media_type="application/json")


def query_of(request: Request, kind: type[Any]) -> Any:  # noqa: ANN401 - an instance of `kind`
    """The parameters of a request.

    Raises:
        HTTPException: If one is not allowed.
    """
    try:
        return kind.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise HTTPException(400, first_problem(error)) from error


def _key(request: Request) -> str:
    key = str(request.path_params["key"])
    if not is_key(key):
        raise HTTPException(404, "a sample's key has nine digits")
    return key


def _missing(key: str, what: str = "sample") -> Any:  # noqa: ANN401 - never returns
    raise HTTPException(404, f"no committed shard holds {what} {key}")


async def _page_file(name: str, request: Request) -> Response:  # noqa: ARG001
    return FileResponse(_PAGE / name)


async def _on_store(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return refuse(503, str(error))


HANDLERS = {HTTPException: on_http_error, FactoryError: _on_store}
"""What becomes of errors."""

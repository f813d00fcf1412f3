"""Serve all datasets of a root: a page that lists them, and each one below `/d/NAME/`.

A name in a request is only looked up by the root (`roots.py`); no path is made of it here.
"""

import threading
from collections import OrderedDict

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from factory.serve.answers import Datasets
from factory.serve.app import (
    HANDLERS,
    answer_of,
    api_routes,
    dataset_routes,
    guarded,
    page_routes,
    query_of,
)
from factory.serve.openapi import FOLDER_ENDPOINTS
from factory.serve.queries import DatasetsQuery
from factory.serve.roots import Root
from factory.serve.view import DatasetView

_MOST_OPEN = 32
"""Datasets whose receipts are kept in memory."""
_PAGE_FILES = {
    "/": "datasets.html",
    "/datasets.js": "datasets.js",
    "/dom.js": "dom.js",
    "/page.css": "page.css",
    "/icon.svg": "icon.svg",
}


def make_folder_app(root: Root, *, token: str) -> Starlette:
    """Build the application for the datasets of `root`; an empty `token` restricts it to loopback."""
    service = _Folder(root)
    routes: list[BaseRoute] = [
        Route("/v1/datasets", service.datasets, methods=["GET"]),
        Route("/healthz", service.health, methods=["GET"]),
        Route("/d/{name}", service.add_slash, methods=["GET"]),
        Mount("/d/{name}", app=service.dataset),
    ]
    return guarded([*routes, *api_routes(FOLDER_ENDPOINTS), *page_routes(_PAGE_FILES)], token)


class _Folder:
    """Endpoints of the folder; the applications of the datasets that were asked for last."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Starlette] = OrderedDict()

    async def datasets(self, request: Request) -> Response:
        query: DatasetsQuery = query_of(request, DatasetsQuery)
        names = await run_in_threadpool(self._root.names)
        page = names[query.offset : query.offset + query.limit]
        return answer_of(Datasets(total=len(names), names=page))

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        return Response("ok\n", media_type="text/plain")

    async def add_slash(self, request: Request) -> Response:
        """The page's own addresses are relative to its folder."""
        return RedirectResponse(f"{request.url.path}/")

    async def dataset(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Delegate a request below `/d/NAME/` to that dataset's application."""
        name = str(scope["path_params"]["name"])
        app = await run_in_threadpool(self._find, name)
        if app is None:
            raise HTTPException(404, "no dataset of this name lies directly in the folder")
        await app(scope, receive, send)

    def _find(self, name: str) -> Starlette | None:
        is_there = self._root.has(name)
        with self._lock:
            if not is_there:
                self._open.pop(name, None)
                return None
            if name not in self._open:
                view = DatasetView(self._root.open(name))
                self._open[name] = Starlette(
                    routes=dataset_routes(view), exception_handlers=HANDLERS
                )
            self._open.move_to_end(name)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            return self._open[name]

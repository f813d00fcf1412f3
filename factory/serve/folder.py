"""Serve all datasets directly inside a folder: a page that lists them, and each one below `/d/NAME/`.

A name in a request is only looked up among those that were listed; no path is made of it. A dataset is a
direct subfolder with a plan; links to folders elsewhere and hidden folders are none.
"""

import os
import threading
from collections import OrderedDict
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from factory.manifest.paths import round_path
from factory.serve.answers import Datasets
from factory.serve.app import HANDLERS, answer_of, dataset_routes, guarded, page_routes, query_of
from factory.serve.openapi import FOLDER_ENDPOINTS, make_openapi
from factory.serve.queries import DatasetsQuery
from factory.serve.view import DatasetView
from factory.store import LocalStore

_MOST_ENTRIES = 10_000
"""Entries of the folder that are looked at."""
_MOST_OPEN = 32
"""Datasets whose receipts are kept in memory."""
_PAGE_FILES = {
    "/": "datasets.html",
    "/datasets.js": "datasets.js",
    "/dom.js": "dom.js",
    "/page.css": "page.css",
    "/icon.svg": "icon.svg",
}


def find_datasets(folder: Path, name: str | None = None) -> dict[str, Path]:
    """The datasets directly inside a folder, by name, sorted; none if it is no folder.

    With `name`, only the one of that name: every picture of a page asks, so no other folder is looked
    into.
    """
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in islice(entries, _MOST_ENTRIES):
                if name in (None, entry.name) and _is_dataset(entry):
                    found[entry.name] = Path(entry.path)
    except OSError:
        return {}
    return dict(sorted(found.items()))


def _is_dataset(entry: os.DirEntry[str]) -> bool:
    is_ours = not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    return is_ours and (Path(entry.path) / round_path(0)).is_file()


def make_folder_app(folder: Path, *, token: str) -> Starlette:
    """Build the application for the datasets in `folder`; an empty `token` restricts it to loopback."""
    service = _Folder(folder)
    routes: list[BaseRoute] = [
        Route("/v1/datasets", service.datasets, methods=["GET"]),
        Route("/v1/openapi.json", service.openapi, methods=["GET"]),
        Route("/healthz", service.health, methods=["GET"]),
        Route("/d/{name}", service.add_slash, methods=["GET"]),
        Mount("/d/{name}", app=service.dataset),
    ]
    return guarded([*routes, *page_routes(_PAGE_FILES)], token)


class _Folder:
    """Endpoints of the folder; the applications of the datasets that were asked for last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Starlette] = OrderedDict()

    async def datasets(self, request: Request) -> Response:
        query: DatasetsQuery = query_of(request, DatasetsQuery)
        names = list(await run_in_threadpool(find_datasets, self._folder))
        page = names[query.offset : query.offset + query.limit]
        return answer_of(Datasets(total=len(names), names=page))

    async def openapi(self, request: Request) -> Response:  # noqa: ARG002 - the same for all
        return JSONResponse(make_openapi(version("maskfactory"), FOLDER_ENDPOINTS))

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
        path = find_datasets(self._folder, name).get(name)
        with self._lock:
            if path is None:
                self._open.pop(name, None)
                return None
            if name not in self._open:
                view = DatasetView(LocalStore(str(path)))
                self._open[name] = Starlette(
                    routes=dataset_routes(view), exception_handlers=HANDLERS
                )
            self._open.move_to_end(name)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
            return self._open[name]

"""The server of the label page: local only, protected by a token, with one writable file.

The token permits reading the samples and writing the labels file, and nothing else.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from factory.errors import JobError
from factory.label.closer import CloserLook
from factory.label.figures import describe_classes, describe_sample, picture_uri
from factory.label.gallery import MOST_SAMPLES, NUM_SAMPLES, Galleries, Gallery
from factory.label.labels_file import LabelsFile, ReviewRequest, SaveRequest
from factory.label.local_page import answer_page, make_page_app, serve_page
from factory.label.material import LabelMaterial
from factory.label.page import ASSETS, live_page, make_facts
from factory.label.scripts import script_names
from factory.web.answers import first_problem

_MOST_BYTES = 2**20
NAMER = "namer"
"""Who keeps a disputed name, in the labels file: the page does not know the person's name."""
_Wanted = TypeVar("_Wanted", bound=BaseModel)
_CUT = re.compile(r"[0-9]{1,5}(,[0-9]{1,5}){0,254}")
_CLASSES = re.compile(r"[0-9]{1,5}([.,][0-9]{1,5}){0,254}")


def serve(
    material: LabelMaterial,
    labels: Path,
    *,
    port: int,
    on_address: Callable[[str], None],
    reviewer: str = "",
) -> None:
    """Serve the page on this machine until it is interrupted.

    With a `reviewer`, the page is for reviewing names that somebody else has given.

    `port` 0 takes a free one. `on_address` is called with the page's address once it is
    reachable.

    Raises:
        JobError: If the port is taken, or the labels file cannot be read.
    """
    LabelsFile(labels, material.tree).load()
    stop = threading.Event()
    survey = threading.Thread(target=material.survey.fill, args=(stop,))

    def show(address: str) -> None:
        on_address(address)
        survey.start()  # not before the port is known to be free

    try:
        serve_page(
            lambda token: make_app(material, labels, token=token, reviewer=reviewer),
            port=port,
            on_address=show,
        )
    finally:
        stop.set()
        if survey.ident is not None:
            survey.join()


def make_app(material: LabelMaterial, labels: Path, *, token: str, reviewer: str = "") -> Starlette:
    """Build the application: the page, its data, masks and figures of any cut, and the labels file."""
    answers = _Answers(material, LabelsFile(labels, material.tree), reviewer)
    routes = [
        Route("/", answers.page),
        Route("/facts", answers.facts),
        Route("/samples", answers.samples),
        Route("/masks", answers.masks),
        Route("/classes", answers.classes),
        Route("/closer", answers.closer),
        Route("/labels", answers.labels),
        Route("/labels", answers.save, methods=["PUT"]),
        Route("/reviews", answers.review, methods=["PUT"]),
    ]
    return make_page_app(routes, _public_files(), token=token, most_body_bytes=_MOST_BYTES)


class _Answers:
    """One method per route."""

    def __init__(self, material: LabelMaterial, file: LabelsFile, reviewer: str) -> None:
        self._material, self._file, self._reviewer = material, file, reviewer
        self._closer = CloserLook(material.renderer)
        self._galleries = Galleries(material.renderer, material.gallery)

    async def page(self, _: Request) -> Response:
        return answer_page(live_page)

    async def facts(self, _: Request) -> Response:
        more = {"labels_file": str(self._file.path), "reviewer": self._reviewer}
        return JSONResponse({**make_facts(self._material), **more})

    async def samples(self, request: Request) -> Response:
        """Twenty samples from number `from` on."""
        found = await self._gallery(request)
        images = await asyncio.to_thread(lambda: [picture_uri(image) for image in found.images])
        return JSONResponse({"images": images})

    async def _gallery(self, request: Request) -> Gallery:
        first = _read_number(request, "from", MOST_SAMPLES - NUM_SAMPLES + 1, "0")
        return await asyncio.to_thread(self._galleries.starting_at, first)

    async def masks(self, request: Request) -> Response:
        """Masks of a cut for the samples from number `from` on."""
        cut = _read_cut(request.query_params.get("cut", ""))
        try:
            self._material.tree.check_cut(cut)
        except JobError as error:
            raise HTTPException(400, str(error)) from error
        gallery = await self._gallery(request)
        found = await asyncio.to_thread(gallery.masks, cut)
        return Response(found.tobytes(), media_type="application/octet-stream")

    async def classes(self, request: Request) -> Response:
        """Figures of the classes `of`: nodes with points between them, classes with commas."""
        classes = self._classes(request)
        return JSONResponse(await asyncio.to_thread(describe_classes, self._material, classes))

    async def closer(self, request: Request) -> Response:
        """Sample `index` at full size, with class `at` of the classes `of` and its parts."""
        classes = self._classes(request)
        at = _read_number(request, "at", len(classes))
        index = _read_number(request, "index", self._material.survey.num_samples)
        return JSONResponse(
            await asyncio.to_thread(describe_sample, self._closer, index, classes, at)
        )

    def _classes(self, request: Request) -> list[list[int]]:
        text = request.query_params.get("of", "")
        if not _CLASSES.fullmatch(text):
            raise HTTPException(
                400, "of: give classes with commas between them, each as nodes with points between"
            )
        classes = [[int(node) for node in group.split(".")] for group in text.split(",")]
        try:
            self._material.tree.check_cut([node for group in classes for node in group])
        except JobError as error:
            raise HTTPException(400, str(error)) from error
        return classes

    async def labels(self, _: Request) -> Response:
        return JSONResponse(self._file.load())

    async def save(self, request: Request) -> Response:
        if self._reviewer:
            raise HTTPException(403, "labels: a reviewer's page changes no names; it disputes them")
        return await self._write(request, SaveRequest, self._file.save)

    async def review(self, request: Request) -> Response:
        write = partial(self._file.review, who=self._reviewer or NAMER)
        return await self._write(request, ReviewRequest, write)

    async def _write(
        self, request: Request, kind: type[_Wanted], write: Callable[[_Wanted], str | None]
    ) -> Response:
        try:
            seen = write(kind.model_validate_json(await request.body()))
        except ValidationError as error:
            raise HTTPException(422, first_problem(error)) from error
        except JobError as error:
            raise HTTPException(422, str(error)) from error
        if seen is None:
            raise HTTPException(409, f"{self._file.path}: changed since this page read it")
        return JSONResponse({"seen": seen})


def _public_files() -> list[Path]:
    return [ASSETS / "page.css", *(ASSETS / f"{name}.js" for name in script_names(ASSETS))]


def _read_cut(text: str) -> list[int]:
    if not _CUT.fullmatch(text):
        raise HTTPException(400, "cut: give at most 255 node numbers with commas between them")
    return [int(part) for part in text.split(",")]


def _read_number(request: Request, name: str, below: int, default: str = "") -> int:
    text = request.query_params.get(name, default)
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) >= below:
        raise HTTPException(400, f"{name}: give a number from 0 to {below - 1}")
    return int(text)

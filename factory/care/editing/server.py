"""The server of the page of edits: local only, protected by a token.

The token permits editing one sample and saving what comes of it in one folder, and nothing else.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from factory.care.edit import EditSettings
from factory.care.editing.page import live_page, make_facts, public_files
from factory.care.editing.session import EditSession, Result
from factory.errors import JobError
from factory.label.local_page import (
    BYTES,
    answer_page,
    answer_superpixels,
    make_page_app,
    read_mask,
    serve_page,
)
from factory.pack.image import encode_image
from factory.spec import EncodeSpec

_LEAST_BYTES = 1024
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_RATE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?", re.ASCII)


def serve(session: EditSession, *, port: int, on_address: Callable[[str], None]) -> None:
    """Serve the page on this machine until it is interrupted.

    `port` 0 takes a free one. `on_address` is called with the page's address once it is reachable.

    Raises:
        JobError: If the port is taken.
    """
    try:
        serve_page(lambda token: make_app(session, token=token), port=port, on_address=on_address)
    finally:
        session.stop()


def make_app(session: EditSession, *, token: str) -> Starlette:
    """Build the application: the page, the sample, and edits of it."""
    answers = _Answers(session)
    routes = [
        Route("/", answers.page),
        Route("/facts", answers.facts),
        Route("/picture", answers.picture),
        Route("/mask", answers.mask),
        Route("/superpixels", answers.superpixels),
        Route("/edit", answers.edit, methods=["PUT"]),
        Route("/progress", answers.progress),
        Route("/stop", answers.stop, methods=["PUT"]),
        Route("/edited", answers.edited),
        Route("/edited_mask", answers.edited_mask),
        Route("/save", answers.save, methods=["PUT"]),
    ]
    most_bytes = max(_LEAST_BYTES, session.sample.mask.size)
    return make_page_app(routes, public_files(), token=token, most_body_bytes=most_bytes)


class _Answers:
    """One method per route."""

    def __init__(self, session: EditSession) -> None:
        self._session = session

    async def page(self, _: Request) -> Response:
        return answer_page(live_page)

    async def facts(self, _: Request) -> Response:
        return JSONResponse(make_facts(self._session))

    async def picture(self, _: Request) -> Response:
        return _png(self._session.sample.image)

    async def mask(self, _: Request) -> Response:
        """Class ids of the sample as it is, a byte for each pixel."""
        return Response(self._session.sample.mask.tobytes(), media_type=BYTES)

    async def superpixels(self, request: Request) -> Response:
        return await answer_superpixels(request, lambda: self._session.sample.image)

    async def edit(self, request: Request) -> Response:
        """Start an edit to class ids, a byte for each pixel; 255 = stays as it is."""
        painted = await read_mask(request, len(self._session.sample.mask), name="mask")
        try:
            run = self._session.start(painted, _settings_in(request, self._session.settings))
        except JobError as error:
            raise HTTPException(422, str(error)) from error
        if run is None:
            raise HTTPException(409, "another edit is running; stop it, or wait for it")
        return JSONResponse({"run": run})

    async def progress(self, _: Request) -> Response:
        """How far the latest edit is, and its figures once it is done."""
        progress = self._session.progress
        result = self._session.result(progress.run)
        facts = None if result is None else result.pair.facts()
        return JSONResponse({**asdict(progress), "facts": facts})

    async def stop(self, _: Request) -> Response:
        await asyncio.to_thread(self._session.stop)
        return JSONResponse(asdict(self._session.progress))

    async def edited(self, request: Request) -> Response:
        return _png(self._result(request).pair.edited)

    async def edited_mask(self, request: Request) -> Response:
        """Class ids of the edited image, a byte for each pixel."""
        return Response(self._result(request).pair.edited_mask.tobytes(), media_type=BYTES)

    async def save(self, request: Request) -> Response:
        """Write the pair of an edit, and what was painted."""
        run = _run_in(request)
        try:
            files = await asyncio.to_thread(self._session.save, run)
        except JobError as error:
            raise HTTPException(422, str(error)) from error
        if files is None:
            raise HTTPException(404, "run: its result is gone; apply the edit again")
        return JSONResponse({"files": [str(file) for file in files]})

    def _result(self, request: Request) -> Result:
        found = self._session.result(_run_in(request))
        if found is None:
            raise HTTPException(404, "run: its result is gone; apply the edit again")
        return found


def _png(image: np.ndarray) -> Response:
    return Response(encode_image(image, EncodeSpec()), media_type="image/png")


def _run_in(request: Request) -> int:
    text = request.query_params.get("run", "")
    if not _NUMBER.fullmatch(text):
        raise HTTPException(400, "run: give the number of an edit")
    return int(text)


def _settings_in(request: Request, default: EditSettings) -> EditSettings:
    """The settings of an edit: those of the command, with steps and rate of the request.

    Raises:
        JobError: If no descent can use them.
    """
    steps, rate = (request.query_params.get(name, "") for name in ("steps", "rate"))
    if not (_NUMBER.fullmatch(steps) and _RATE.fullmatch(rate)):
        raise HTTPException(400, "steps and rate: give a whole number and a decimal one")
    return replace(default, steps=int(steps), learning_rate=float(rate))

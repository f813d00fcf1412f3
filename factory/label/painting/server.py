"""The server of the painting page: local only, protected by a token.

The token permits reading the pictures of one folder and writing their masks, and nothing else.
"""

import asyncio
import io
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from factory.errors import JobError
from factory.label.local_page import (
    BYTES,
    answer_page,
    answer_superpixels,
    make_page_app,
    read_mask,
    serve_page,
)
from factory.label.painting.material import PaintingMaterial
from factory.label.painting.page import live_page, make_facts, public_files
from factory.pack.image import decode_image

_SMALL_PX = 96


def serve(material: PaintingMaterial, *, port: int, on_address: Callable[[str], None]) -> None:
    """Serve the page on this machine until it is interrupted.

    `port` 0 takes a free one. `on_address` is called with the page's address once it is reachable.

    Raises:
        JobError: If the port is taken.
    """
    serve_page(lambda token: make_app(material, token=token), port=port, on_address=on_address)


def make_app(material: PaintingMaterial, *, token: str) -> Starlette:
    """Build the application: the page, its pictures, masks, superpixels and suggestions."""
    answers = _Answers(material)
    routes = [
        Route("/", answers.page),
        Route("/facts", answers.facts),
        Route("/picture", answers.picture),
        Route("/small", answers.small),
        Route("/superpixels", answers.superpixels),
        Route("/mask", answers.mask),
        Route("/mask", answers.save, methods=["PUT"]),
        Route("/suggestion", answers.suggestion),
        Route("/next", answers.next),
    ]
    most_bytes = material.pictures.resolution_px**2
    return make_page_app(routes, public_files(), token=token, most_body_bytes=most_bytes)


class _Answers:
    """One method per route."""

    def __init__(self, material: PaintingMaterial) -> None:
        self._material = material
        self._names = {picture.name for picture in material.pictures.pictures}

    async def page(self, _: Request) -> Response:
        return answer_page(live_page)

    async def facts(self, _: Request) -> Response:
        return JSONResponse(make_facts(self._material))

    async def picture(self, request: Request) -> Response:
        return Response(self._picture(self._name(request)), media_type="image/png")

    async def small(self, request: Request) -> Response:
        """A picture at no more than 96 px, for the list."""
        picture = Image.fromarray(self._pixels(self._name(request)))
        return Response(await asyncio.to_thread(_smaller, picture), media_type="image/png")

    async def superpixels(self, request: Request) -> Response:
        name = self._name(request)
        return await answer_superpixels(request, lambda: self._pixels(name))

    async def mask(self, request: Request) -> Response:
        """Class ids of a picture, a byte for each pixel; the header `seen` is its file's digest."""
        try:
            mask, seen = self._material.masks.read(self._name(request))
        except JobError as error:
            raise HTTPException(422, str(error)) from error
        return Response(mask.tobytes(), headers={"seen": seen}, media_type=BYTES)

    async def save(self, request: Request) -> Response:
        """Save class ids, a byte for each pixel, over the file `seen`."""
        name, seen = self._name(request), request.query_params.get("seen", "")
        mask = await read_mask(request, self._material.pictures.resolution_px, name=name)
        try:
            found = await asyncio.to_thread(self._material.masks.save, name, mask, seen)
        except JobError as error:
            raise HTTPException(422, str(error)) from error
        if found is None:
            raise HTTPException(409, f"{name}: its mask changed since this page read it")
        return JSONResponse({"seen": found})

    async def suggestion(self, request: Request) -> Response:
        """Class ids that a head suggests for a picture; nothing while too little is painted."""
        name, painted = self._name(request), self._material.masks.painted()
        found = await asyncio.to_thread(self._material.suggestions.suggest, name, painted)
        if found is None:
            return Response(status_code=204)
        return Response(found.mask.tobytes(), media_type=BYTES)

    async def next(self, _: Request) -> Response:
        """The pictures that are not painted, the one that helps most first."""
        painted = self._material.masks.painted()
        order = await asyncio.to_thread(self._material.suggestions.least_sure, painted)
        return JSONResponse({"order": order})

    def _name(self, request: Request) -> str:
        name = request.query_params.get("name", "")
        if name not in self._names:
            raise HTTPException(404, f"name: {name[:40]!r} is no picture here")
        return name

    def _picture(self, name: str) -> bytes:
        file = self._material.picture_file(name)
        try:
            return file.read_bytes()
        except OSError as error:
            raise HTTPException(404, f"{file}: cannot be read ({error.strerror})") from error

    def _pixels(self, name: str) -> UInt8[np.ndarray, "h w 3"]:
        try:
            image = decode_image(self._picture(name))
            if image.shape[0] != self._material.pictures.resolution_px:
                raise ValueError(f"has {image.shape[0]} rows; it is not the one that was written")
        except ValueError as error:
            raise HTTPException(422, f"{self._material.picture_file(name)}: {error}") from error
        return image


def _smaller(picture: Image.Image) -> bytes:
    picture.thumbnail((_SMALL_PX, _SMALL_PX), Image.Resampling.BOX)
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()

"""The scripts and styles of a page, and the rule about what it may load.

Scripts import each other by bare names, which an import map resolves. There is no build step.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def content_rule(nonce: str) -> str:
    """The Content-Security-Policy of a page: its own server, and inline scripts with `nonce`."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def asset_route(path: Path) -> Route:
    """The route at which a script or a style is given out."""
    kind = "text/css" if path.suffix == ".css" else "text/javascript"

    async def asset(_: Request) -> Response:
        return Response(path.read_bytes(), media_type=kind)

    return Route(f"/assets/{path.name}", asset)


def script_names(folder: Path) -> list[str]:
    """Names of the scripts in `folder`, without extension."""
    return sorted(path.stem for path in folder.glob("*.js"))


def import_map(imports: Mapping[str, str], nonce: str) -> str:
    """The element that tells where each script is. It carries `nonce` unless that is empty."""
    carried = f' nonce="{nonce}"' if nonce else ""
    return f'<script type="importmap"{carried}>{json.dumps({"imports": imports})}</script>'

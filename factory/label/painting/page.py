"""Render the painting page, and what it is told first."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from factory.data import IGNORE
from factory.label.page import ASSETS as SHARED
from factory.label.painting.material import PaintingMaterial
from factory.label.painting.suggestions import FEWEST_PICTURES
from factory.label.scripts import import_map, script_names

ASSETS = Path(__file__).parent / "assets"

_SHARED_SCRIPTS = ("history",)
"""Scripts of the label page that this one uses as well."""


def live_page(nonce: str) -> bytes:
    """Render the page of the live server. Its inline scripts carry `nonce`."""
    imports = {f"paint/{name}": f"/assets/{name}.js" for name in script_names(ASSETS)}
    imports |= {f"label/{name}": f"/assets/{name}.js" for name in _SHARED_SCRIPTS}
    return fill_page(ASSETS / "paint.html", imports, nonce)


def fill_page(page: Path, imports: Mapping[str, str], nonce: str) -> bytes:
    """Fill in what every page with paint has: its head, its canvas and the bar of tools."""
    shared = {
        name: (ASSETS / f"shared_{name}.html").read_text(encoding="utf-8")
        for name in ("head", "canvas", "tools")
    }
    text = Template(page.read_text(encoding="utf-8"))
    return text.substitute(shared, imports=import_map(imports, nonce), nonce=nonce).encode()


def public_files() -> list[Path]:
    """The scripts and styles of the page."""
    own = [ASSETS / "paint.css", *(ASSETS / f"{name}.js" for name in script_names(ASSETS))]
    shared = [SHARED / "page.css", *(SHARED / f"{name}.js" for name in _SHARED_SCRIPTS)]
    return [*own, *shared]


def make_facts(material: PaintingMaterial) -> dict[str, Any]:
    """The page's initial data, as plain JSON."""
    masks = material.masks
    painted = masks.painted()
    return {
        "name": material.name,
        "folder": str(material.folder),
        "side": material.pictures.resolution_px,
        "fewest_painted": FEWEST_PICTURES,
        "classes": [
            {"name": label.name, "colour": "#{:02x}{:02x}{:02x}".format(*label.colour)}
            for label in material.labels
        ],
        "pictures": [
            {
                "name": one.name,
                "generator_class": one.generator_class,
                "painted_px": int(np.sum(painted[one.name] != IGNORE))
                if one.name in painted
                else 0,
                "other_file": masks.other_file(one.name),
            }
            for one in material.pictures.pictures
        ],
    }

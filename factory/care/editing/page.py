"""Render the page of edits, and what it is told first. It shares its canvas with the painting page."""

from pathlib import Path
from typing import Any

from factory.care.editing.session import EditSession
from factory.label.page import ASSETS as LABEL_ASSETS
from factory.label.painting.page import ASSETS as PAINT_ASSETS
from factory.label.painting.page import fill_page
from factory.label.scripts import script_names

ASSETS = Path(__file__).parent / "assets"

_SHARED = {
    "label": (LABEL_ASSETS, ("history",)),
    "paint": (
        PAINT_ASSETS,
        ("gestures", "mask", "page", "painter", "palette", "source", "tools", "view"),
    ),
}
"""Scripts of other pages that this one uses, by what they are called here."""


def live_page(nonce: str) -> bytes:
    """Render the page. Its inline scripts carry `nonce`."""
    imports = {f"edit/{name}": f"/assets/{name}.js" for name in script_names(ASSETS)}
    for prefix, (_, names) in _SHARED.items():
        imports |= {f"{prefix}/{name}": f"/assets/{name}.js" for name in names}
    return fill_page(ASSETS / "edit.html", imports, nonce)


def public_files() -> list[Path]:
    """The scripts and styles of the page."""
    scripts = [ASSETS / f"{name}.js" for name in script_names(ASSETS)]
    shared = [folder / f"{name}.js" for folder, names in _SHARED.values() for name in names]
    styles = [LABEL_ASSETS / "page.css", PAINT_ASSETS / "paint.css", ASSETS / "edit.css"]
    return [*styles, *scripts, *shared]


def make_facts(session: EditSession) -> dict[str, Any]:
    """The page's initial data, as plain JSON."""
    return {
        "key": session.sample.key,
        "side": len(session.sample.mask),
        "folder": str(session.folder),
        "steps": session.settings.steps,
        "learning_rate": session.settings.learning_rate,
        "classes": [
            {"name": label.name, "colour": "#{:02x}{:02x}{:02x}".format(*label.colour)}
            for label in session.sample.labels
        ],
    }

"""Render the page for the live server, or as a self-contained HTML file.

The scripts import each other by bare names, which an import map resolves to addresses of the server or
to inlined scripts. There is no build step, and nothing is loaded from other hosts.
"""

import base64
import json
import zlib
from dataclasses import asdict
from pathlib import Path
from string import Template
from typing import Any

from factory.label.figures import picture_uri
from factory.label.kept import keep_closer_looks
from factory.label.layout import place_nodes
from factory.label.material import LabelMaterial
from factory.label.scripts import import_map, script_names
from factory.segment.tree.doubts import doubts_of_cut
from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.suggest import suggest_cuts

ASSETS = Path(__file__).parent / "assets"

_NO_NETWORK = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:"
)


def make_facts(material: LabelMaterial) -> dict[str, Any]:
    """The page's initial data, as plain JSON."""
    tree, gallery = material.tree, material.gallery
    return {
        "name": material.name,
        "tree": tree.digest(),
        "nodes": [asdict(node) for node in place_nodes(tree)],
        "cuts": [_cut_quality(tree, count) for count in range(2, tree.num_leaves + 1)],
        "suggested": suggest_cuts(tree).num_classes,
        "side": gallery.images.shape[1],
        "mask_side": gallery.scores.shape[-1],
        "images": [picture_uri(image) for image in gallery.images],
    }


def live_page(nonce: str) -> bytes:
    """Render the page of the live server. Its inline scripts carry `nonce`."""
    imports = {f"label/{name}": f"/assets/{name}.js" for name in script_names(ASSETS)}
    head = f'<link rel="stylesheet" href="/assets/page.css">\n{import_map(imports, nonce)}'
    return _fill(head=head, tail="", nonce=f' nonce="{nonce}"')


def kept_page(material: LabelMaterial) -> bytes:
    """Render the page as one read-only file that contains the masks of all flat cuts.

    With closer looks at the classes of some, if the material's survey holds samples.
    """
    masks = {
        count: _packed(material.gallery.masks(material.tree.flat_cut(count)).tobytes())
        for count in range(2, material.tree.num_leaves + 1)
    }
    closer = keep_closer_looks(material) if material.survey.num_ready else None
    kept = {**make_facts(material), "masks": masks, "closer": closer}
    facts = json.dumps(kept).replace("<", "\\u003c")
    imports = {
        f"label/{name}": _data_uri("text/javascript", (ASSETS / f"{name}.js").read_bytes())
        for name in script_names(ASSETS)
    }
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{_NO_NETWORK}">\n'
        f"<style>\n{style}</style>\n{import_map(imports, '')}"
    )
    tail = f'<script type="application/json" id="facts">{facts}</script>'
    return _fill(head=head, tail=tail, nonce="")


def _cut_quality(tree: Hierarchy, count: int) -> dict[str, Any]:
    """Statistics of the merge below a flat cut, None at two classes, and doubts about its classes."""
    iou = alike = None
    if count > 2:
        iou, alike = tree.history[tree.num_leaves - count, 2:].tolist()
    agreement = float(tree.evidence.agreement[count - 2]) if tree.evidence else None
    doubts = doubts_of_cut(tree, count)
    return {"k": count, "iou": iou, "ecos": alike, "agreement": agreement, "doubts": doubts}


def _fill(**parts: str) -> bytes:
    text = (ASSETS / "page.html").read_text(encoding="utf-8")
    return Template(text).substitute(parts).encode()


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()

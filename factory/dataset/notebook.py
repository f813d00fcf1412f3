"""HTML representation of a dataset for notebooks. All texts of the dataset are escaped."""

import base64
from html import escape

from factory.manifest.paths import CARD_PICTURE
from factory.manifest.records import Manifest
from factory.store import Store

_MOST_BYTES = 2**22
"""Maximum size of the contact sheet: it is stored in the notebook's file."""

_PNG = b"\x89PNG\r\n\x1a\n"


def describe_html(store: Store, manifest: Manifest, title: str) -> str:
    """Render the title, a table of the classes, and the contact sheet if there is one."""
    records = manifest.records
    total_px = sum(r.ignore_px + sum(r.class_px) for r in records) or 1
    rows = [
        f"<tr><td>{label.id}</td>"
        f'<td><span style="color:rgb{tuple(label.colour)}">&#9632;</span> {escape(label.name)}</td>'
        f"<td>{sum(r.class_images[label.id] for r in records):,}</td>"
        f"<td>{sum(r.class_px[label.id] for r in records) / total_px:.1%}</td></tr>"
        for label in manifest.meaning.labels
    ]
    ignore_px = sum(record.ignore_px for record in records)
    if ignore_px:
        rows.append(
            f"<tr><td>255</td><td>no class</td><td></td><td>{ignore_px / total_px:.1%}</td></tr>"
        )
    head = "<tr><th>mask value</th><th>class</th><th>samples</th><th>pixels</th></tr>"
    return f"<p>{escape(title)}</p><table>{head}{''.join(rows)}</table>{_picture(store)}"


def _picture(store: Store) -> str:
    # Checked, because a dataset of unknown origin may have anything under this name.
    data = store.read_part(CARD_PICTURE, 0, _MOST_BYTES + 1)
    if data is None or len(data) > _MOST_BYTES or not data.startswith(_PNG):
        return ""
    text = base64.b64encode(data).decode()
    return f'<img style="max-width:100%" src="data:image/png;base64,{text}">'


def describe_text(uri: str, split: str, manifest: Manifest, count: int) -> str:
    """A line on `count` samples of a split: where, how many, in how many shards, of which classes."""
    names = ", ".join(label.name for label in manifest.meaning.labels)
    near = manifest.num_samples - count
    left = f" ({near:,} near training samples left out)" if near else ""
    size = f"{count:,} samples in {len(manifest.records):,} shards{left}"
    return f"<Dataset {uri}: {split + ': ' if split else ''}{size}; {names}>"

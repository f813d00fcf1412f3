"""Facts about a sample: `KEY.json` in the tar, and a row of the sidecar table.

Readers infer a schema from the first few samples, so every sample has the same keys, none is null
(-1, "" and [] mean absent), floats are always written as floats, and lists are indexed by class id.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from factory.data import Sample, SampleEdit
from factory.errors import count_problems
from factory.identity import sample_key
from factory.manifest.columns import row_of, schema_of
from factory.manifest.measure import UNKNOWN, Measures
from factory.manifest.parquet import encode_table, read_table
from factory.pack.fact_kinds import (
    CleanedFacts,
    ComparedFacts,
    ComposedFacts,
    EditFacts,
    InstanceFacts,
    LayoutFacts,
    SampleFacts,
)

__all__ = [
    "SIDECAR_SCHEMA",
    "AnyFacts",
    "CleanedFacts",
    "ComparedFacts",
    "ComposedFacts",
    "EditFacts",
    "InstanceFacts",
    "LayoutFacts",
    "SampleFacts",
    "encode_facts",
    "encode_sidecar",
    "find_odd_column",
    "make_facts",
    "read_facts",
    "read_sidecar",
]

AnyFacts = TypeVar("AnyFacts", bound=SampleFacts)

SIDECAR_SCHEMA = schema_of(SampleFacts, Measures)
"""Columns of the sidecar table of samples without instances."""

_ONE_OF = (InstanceFacts, LayoutFacts, EditFacts, CleanedFacts)
"""At most one of them; a sample with a wanted layout says in `LayoutFacts` what was cleaned up."""

_BESIDE = (ComparedFacts, ComposedFacts)
"""Any of them, beside the others."""

_KINDS: tuple[type[SampleFacts], ...] = (*_ONE_OF, *_BESIDE)


@cache
def _joined(kinds: tuple[type[SampleFacts], ...]) -> type[SampleFacts]:
    """The facts that have what all of `kinds` have."""
    match kinds:
        case ():
            return SampleFacts
        case (only,):
            return only
    return type("".join(kind.__name__.removesuffix("Facts") for kind in kinds) + "Facts", kinds, {})


@cache
def _schema(kind: type[SampleFacts]) -> pa.Schema:
    return SIDECAR_SCHEMA if kind is SampleFacts else schema_of(SampleFacts, Measures, kind)


def make_facts(sample: Sample, *, dataset_id: str, class_names: tuple[str, ...]) -> SampleFacts:
    """Collect the facts about `sample`. `class_names` are the generator's, by class label."""
    height, width = sample.mask.shape
    has_name = 0 <= sample.class_label < len(class_names)
    facts = SampleFacts(
        key=sample_key(sample.index),
        index=sample.index,
        dataset_id=dataset_id,
        class_label=sample.class_label,
        class_name=class_names[sample.class_label] if has_name else "",
        confidence=round(sample.confidence, 6),
        width=width,
        height=height,
        class_px=list(sample.class_px),
        ignore_px=sample.mask.size - sum(sample.class_px),
    )
    kinds, more = _further(sample)
    return _joined(kinds)(**facts.model_dump(), **more) if kinds else facts


def _further(sample: Sample) -> tuple[tuple[type[SampleFacts], ...], dict[str, Any]]:
    """The kinds of facts that `sample` has beside those of every sample, and these facts."""
    kinds: list[type[SampleFacts]] = []
    more: dict[str, Any] = {}
    if sample.edit is not None:
        kinds.append(EditFacts)
        more |= _edit_facts(sample.edit, sample.cleaned_px)
        return tuple(kinds), more
    if sample.search is not None:
        kinds.append(LayoutFacts)
        more |= {
            "layout": sample.search.layout,
            "layout_iou": round(sample.search.iou, 6),
            "start_iou": round(sample.search.start_iou, 6),
            "forwards": sample.search.num_forwards,
            "steps": sample.search.num_steps,
            "cleaned_px": -1 if sample.cleaned_px is None else sample.cleaned_px,
        }
    elif sample.cleaned_px is not None:
        kinds.append(CleanedFacts)
        more["cleaned_px"] = sample.cleaned_px
    elif sample.instances is not None:
        found = sample.instances
        kinds.append(InstanceFacts)
        more |= {
            "instance_class": list(found.class_ids),
            "instance_box_xyxy": [list(box) for box in found.boxes_xyxy],
            "instance_score": list(found.scores),
            "instance_px": list(found.num_px),
        }
    if sample.agreement is not None:
        kinds.append(ComparedFacts)
        more["agreement"] = round(sample.agreement, 6)
    if sample.background:
        kinds.append(ComposedFacts)
        more["background"] = sample.background
    return tuple(kinds), more


def _edit_facts(edit: SampleEdit, cleaned_px: int | None) -> dict[str, Any]:
    return {
        **asdict(edit.figures),
        "edited_from": sample_key(edit.source),
        "edited_confidence": round(edit.confidence, 6),
        "edited_class_px": list(edit.class_px),
        "edited_ignore_px": edit.mask.size - sum(edit.class_px),
        "forwards": edit.num_forwards,
        "steps": edit.num_steps,
        "cleaned_px": -1 if cleaned_px is None else cleaned_px,
    }


def encode_facts(facts: SampleFacts) -> bytes:
    """Encode `KEY.json`: one line, keys in the order of `SampleFacts`."""
    return (json.dumps(facts.model_dump(), allow_nan=False) + "\n").encode()


def read_facts(data: bytes, kind: type[AnyFacts]) -> AnyFacts:
    """Parse a `KEY.json`: `InstanceFacts` if the sample has instances, else `SampleFacts`.

    Where `SampleFacts` are asked for, they are `LayoutFacts` of a sample with a wanted layout,
    `EditFacts` of one that was edited, `CleanedFacts` of one whose mask was cleaned up,
    `ComparedFacts` of one whose mask was compared,
    `ComposedFacts` of a composite, or several of these.

    Raises:
        ValueError: If it is not one of this version.
    """
    if kind is SampleFacts:
        # A quote inside of a value is escaped, so that only a key looks like one.
        own = {k: all(f'"{name}":'.encode() in data for name in _own(k)) for k in _KINDS}
        kind = _kind_with(own)  # type: ignore[assignment] # it is a SampleFacts
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise ValueError(f"its facts have {count_problems(error.error_count())}") from error


def encode_sidecar(rows: Sequence[SampleFacts], measures: Sequence[Measures] = ()) -> bytes:
    """Encode a Parquet table with one row per sample, in the tar's order.

    Without `measures` their columns have the values for unknown.
    """
    schema = _schema(type(rows[0])) if rows else SIDECAR_SCHEMA
    pairs = zip(rows, measures or [UNKNOWN] * len(rows), strict=True)
    lines = [row_of(facts) | row_of(measured) for facts, measured in pairs]
    table = pa.Table.from_pylist(lines, schema=schema)
    return encode_table(table)


def read_sidecar(data: bytes, *, most_rows: int = 10**6) -> list[tuple[SampleFacts, Measures]]:
    """Read the rows of a sidecar table, in the tar's order; older tables have no measures.

    A table with more than `most_rows`, which should be what its shard has, is refused unread.

    Raises:
        ValueError: If it is not such a table.
    """
    try:
        table = read_table(data, most_rows=most_rows)
        odd = find_odd_column(table.schema)
        lines = [] if odd else table.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError("not a table of samples") from error
    if odd:
        raise ValueError(f"not a table of samples (column {odd!r})")
    rows = []
    for line in lines:
        kind = _kind_with({k: _own(k) <= line.keys() for k in _KINDS})
        facts = {name: line.pop(name, None) for name in kind.model_fields}
        rows.append((kind.model_validate(facts), Measures(**line)))
    return rows


def find_odd_column(schema: pa.Schema) -> str | None:
    """A column that is there twice, or of another type than ours; None if there is none."""
    for name in schema.names:
        known = SIDECAR_SCHEMA.get_field_index(name)
        if schema.get_field_index(name) < 0 or (
            known >= 0 and schema.field(name).type != SIDECAR_SCHEMA.types[known]
        ):
            return str(name)
    return None


def _kind_with(has: dict[type[SampleFacts], bool]) -> type[SampleFacts]:
    """The facts of a sample that has what is true in `has`."""
    first = [kind for kind in _ONE_OF if has[kind]][:1]
    return _joined((*first, *(kind for kind in _BESIDE if has[kind])))


def _own(kind: type[SampleFacts]) -> set[str]:
    """The facts that `kind` has beside those of every sample."""
    return kind.model_fields.keys() - SampleFacts.model_fields.keys()

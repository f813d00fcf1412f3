"""The page `/docs`: the HTTP API in words, written from the same endpoints as the OpenAPI document."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from factory.serve.openapi import ENDPOINTS, Endpoint, make_openapi

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>maskfactory: HTTP API</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="page.css">
</head>
<body>
"""
_TAKES = (
    "Everything is read with GET. Where a token is set, send it as <code>Authorization: Bearer "
    "TOKEN</code>, or open <code>/?token=TOKEN</code> once, which leaves a cookie. Errors "
    "are JSON, "
    '<code>{"error": "..."}</code>, with one of the status codes at the end. The same as a document for '
    'programs: <a href="v1/openapi.json">openapi.json</a>.'
)
_PREFIX = "#/components/schemas/"


def make_docs(version: str, endpoints: Sequence[Endpoint] = ENDPOINTS) -> str:
    """The page as HTML. Its links are relative, so that it can be served below any folder."""
    document = make_openapi(version, endpoints)
    failures: dict[str, str] = {}
    parts = [
        _HEAD,
        f'<header><h1><a href="./">maskfactory</a> <span>HTTP API, {version}</span></h1>',
    ]
    parts += ["</header>\n<main class='docs'>\n<section><p>", _TAKES, "</p></section>\n"]
    for path, methods in document["paths"].items():
        operation = methods["get"]
        responses = dict(operation["responses"])
        (answer,) = responses.pop("200")["content"].items()
        failures |= {code: response["description"] for code, response in responses.items()}
        parts.append(
            f'<section id="{escape(operation["operationId"])}"><h2><code>GET {escape(path)}</code>'
        )
        parts.append(f"</h2><p>{escape(operation['summary'])} {_answer(*answer)}</p>")
        parts += [_table(_parameters(operation["parameters"])), "</section>\n"]
    for name, schema in document["components"]["schemas"].items():
        parts.append(f'<section id="{name}"><h2>{name}</h2><p>{_text(schema)}</p>')
        parts += [_table(_fields(schema)), "</section>\n"]
    parts += [
        "<section id='status'><h2>Status codes of errors</h2>",
        _table(sorted(failures.items())),
    ]
    return "".join([*parts, "</section>\n</main>\n</body>\n</html>\n"])


def _answer(media: str, content: dict[str, Any]) -> str:
    what = _kind(content["schema"]) if "$ref" in content["schema"] else escape(media)
    return f"Answers with {what}."


def _parameters(parameters: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for one in parameters:
        where = " (in the path)" if one["in"] == "path" else ""
        yield one["name"] + where, _described(one["schema"])


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, field in schema.get("properties", {}).items():
        yield name, _described(field)


def _described(schema: dict[str, Any]) -> str:
    words = [_kind(schema)]
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        words.append(
            f"{low:,} to {high:,}" if "maximum" in schema else f"{low:,} to below {high:,}"
        )
    if "pattern" in schema:
        words.append(f"like <code>{escape(schema['pattern'])}</code>")
    if schema.get("default") is not None:
        words.append(f"default <code>{escape(str(schema['default']))}</code>")
    return "; ".join([*words, *filter(None, [_text(schema)])])


def _text(schema: dict[str, Any]) -> str:
    """A description, with what is between backticks as code."""
    pieces = escape(" ".join(schema.get("description", "").split())).split("`")
    return "".join(f"<code>{p}</code>" if at % 2 else p for at, p in enumerate(pieces))


def _kind(schema: dict[str, Any]) -> str:
    """The type of a value, in words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_PREFIX)
        return f'<a href="#{name}">{name}</a>'
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}" if "items" in schema else "list"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"mapping to {_kind(schema['additionalProperties'])}"
    return escape(str(schema.get("const", schema.get("type", "any value"))))


def _table(rows: Iterator[tuple[str, str]] | list[tuple[str, str]]) -> str:
    lines = [f"<tr><th scope='row'><code>{escape(n)}</code></th><td>{t}</td></tr>" for n, t in rows]
    return f"<table>{''.join(lines)}</table>" if lines else ""

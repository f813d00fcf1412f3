"""Pages of the site that do not lie in `factory/docs`: documents of the repository, and the reference.

A hook of mkdocs. The reference is written from the settings classes, the commands, the errors and the
schemas, so that it cannot differ from them.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from factory import errors
from factory.cli.app import app
from factory.spec.explain import Explanation, explain
from factory.spec.generators import FAMILY_SETTINGS
from factory.spec.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = {
    "README.md": "index.md",
    "deploy/README.md": "deploy.md",
    "factory/ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Documents of the repository, and the pages that they are."""
DOCS = "factory/docs"
_LINK = re.compile(
    r"^```.*?^```|(?P<mark>!?)\[(?P<text>(?:`[^`\n]*`|[^\]`])*)\]"
    r"\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)
"""A link, or code, in which there are none."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents, the reference, and the files that pages link to."""
    pages = {page: (ROOT / document).read_text("utf-8") for document, page in DOCUMENTS.items()}
    texts = {page: _relinked(text, _folder_of(page)) for page, text in pages.items()}
    texts |= {f"reference/{name}.md": text for name, text in _reference().items()}
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    for path in sorted(_linked_files()):
        source = str(ROOT / path)
        files.append(File.generated(config, f"files/{path}", abs_src_path=source))
    return files


def on_page_read_source(page: Any, config: MkDocsConfig) -> str | None:  # noqa: ANN401, ARG001
    """Rewrite the links of the pages that lie in `factory/docs`."""
    if page.file.generated_by is not None:
        return None
    return _relinked(Path(page.file.abs_src_path).read_text("utf-8"), DOCS)


def _folder_of(page: str) -> str:
    document = next(document for document, name in DOCUMENTS.items() if name == page)
    return str(Path(document).parent)


def _relinked(text: str, folder: str) -> str:
    """`text` of a document in `folder`, with links that hold on the site."""
    return _LINK.sub(lambda found: _link(found, folder), text)


def _is_ours(found: re.Match[str]) -> bool:
    """Whether it is a link, and leads to a file of this repository."""
    target = found["target"]
    return target is not None and "://" not in target and not target.startswith("mailto:")


def _link(found: re.Match[str], folder: str) -> str:
    if not _is_ours(found):
        return found[0]
    mark, text, target, anchor = found.group("mark", "text", "target", "anchor")
    path = _resolve(folder, target)
    if path in DOCUMENTS:
        there = DOCUMENTS[path]
    elif path.startswith(f"{DOCS}/") and path.endswith(".md"):
        there = path.removeprefix(f"{DOCS}/")
    elif (ROOT / path).is_file():
        there = f"files/{path}"
    elif f"{path}/README.md" in DOCUMENTS:
        there = DOCUMENTS[f"{path}/README.md"]
    elif (ROOT / path).is_dir():
        return text  # a folder of the repository is nothing on a site
    else:
        there = target  # broken: mkdocs says where
    return f"{mark}[{text}]({there}{anchor or ''})"


def _resolve(folder: str, target: str) -> str:
    return str((ROOT / folder / target).resolve().relative_to(ROOT))


def _linked_files() -> Iterator[str]:
    """The files of the repository that pages link to or show."""
    documents = [*DOCUMENTS, *(f"{DOCS}/{path.name}" for path in (ROOT / DOCS).glob("*.md"))]
    found = set()
    for document in documents:
        folder = str(Path(document).parent)
        links = _LINK.finditer((ROOT / document).read_text("utf-8"))
        paths = [_resolve(folder, link["target"]) for link in links if _is_ours(link)]
        found.update(path for path in paths if (ROOT / path).is_file() and not path.endswith(".md"))
    yield from found


def _reference() -> dict[str, str]:
    return {
        "settings": _settings(),
        "commands": _commands(),
        "exit_codes": _exit_codes(),
        "files": _files(),
    }


def _settings() -> str:
    """Every section of a job, every method and every family, as `factory explain` tells them."""
    lines = [
        "# Settings",
        "",
        "What a job file may hold. `factory explain NAME` prints the same.",
        "",
    ]
    lines += _sections("")
    lines += ["## Methods", ""]
    for kind in METHODS:
        lines += _section(explain(kind), f"segmenter.kind: {kind}", depth=3)
    lines += ["## Generators", "", "Settings that a weights file does not state.", ""]
    for kind in FAMILY_SETTINGS:
        lines += _section(explain(kind), f"generator.kind: {kind}", depth=3)
    return "\n".join(lines)


def _sections(name: str) -> list[str]:
    found = explain(name)
    lines = _section(found, found.path or "The whole", depth=2) if found.settings else []
    for setting in found.settings:
        inner = ".".join(filter(None, [name, setting.name]))
        if setting.has_more and inner not in ("dataset.segmenter", "dataset.generator.settings"):
            lines += _sections(inner)
    return lines


def _section(found: Explanation, title: str, depth: int) -> list[str]:
    lines = [f"{'#' * depth} `{title}`" if " " not in title else f"{'#' * depth} {title}", ""]
    lines += [found.text, ""] if found.text else []
    if found.settings:
        lines += ["| setting | values | default | what it does |", "|---|---|---|---|"]
    for one in found.settings:
        cells = (f"`{one.name}`", one.values, f"`{one.default}`" if one.default else "", one.text)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return [*lines, ""]


def _commands() -> str:
    lines = ["# Commands", "", "`factory COMMAND -h` prints the same.", ""]
    root = typer.main.get_command(app)
    for name, command in _walk(root, []):
        usage = " ".join(
            piece for piece in command.collect_usage_pieces(_context(command)) if piece
        )
        lines += [
            f"## `factory {name}`",
            "",
            command.help or "",
            "",
            f"    factory {name} {usage}",
            "",
        ]
        rows = [row for parameter in command.params if (row := _parameter(parameter))]
        if rows:
            lines += ["| argument or option | what it is |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _walk(command: Any, path: list[str]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - click's
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name, one in inner.items():
        yield from _walk(one, [*path, name])


def _context(command: Any) -> click.Context:  # noqa: ANN401 - click's
    return click.Context(command)


def _parameter(parameter: Any) -> str:  # noqa: ANN401 - click's
    if parameter.name == "help":
        return ""
    names = (
        parameter.opts
        if parameter.param_type_name == "option"
        else [parameter.metavar or parameter.name]
    )
    text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {text} |"


def _exit_codes() -> str:
    lines = [
        "# Exit codes",
        "",
        "0: complete.",
        "",
        "| code | error | what it means |",
        "|---|---|---|",
    ]
    kinds = [one for one in vars(errors).values() if isinstance(one, type)]
    for one in kinds:
        if issubclass(one, errors.FactoryError) and one is not errors.FactoryError:
            about = (one.__doc__ or "").splitlines()[0]
            lines.append(f"| {one.exit_code} | `{one.__name__}` | {about} |")
    return "\n".join(
        [*lines, "", "Anything else that goes wrong is a bug, with code 1 and a traceback.", ""]
    )


def _files() -> str:
    lines = [
        "# Files",
        "",
        "Every file that is read or written has a JSON Schema in `schemas/`.",
        "",
    ]
    lines += ["| schema | what it describes |", "|---|---|"]
    for path in sorted((ROOT / "schemas").glob("*.json")):
        schema = json.loads(path.read_text("utf-8"))
        about = " ".join(schema.get("description", "").split()).replace("|", "\\|")
        lines.append(f"| `{path.name}` | {about} |")
    return "\n".join([*lines, ""])

"""The commands that show a dataset and its samples: `serve` and `replay`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import (
    AsJson,
    TrustPlugins,
    Where,
    find_store,
    one_line_errors,
    print_json,
    say,
)
from factory.store.single_file import replace_file, writing_into

TOKEN_VARIABLE = "FACTORY_SERVE_TOKEN"  # noqa: S105 - the name of the variable, not the token
"""The environment variable with the token; a token on a command line would be in every `ps`."""


@one_line_errors
def serve(
    dataset: Where,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free one.")] = 8765,
) -> None:
    """Serve a read-only web page and API of a dataset, during a run or afterwards.

    Of a folder, or a prefix of a bucket, with datasets directly inside it, it serves all of them.

    An address that other machines can reach requires a secret in FACTORY_SERVE_TOKEN.
    """
    from factory.serve.app import make_app
    from factory.serve.folder import make_folder_app
    from factory.serve.roots import root_of
    from factory.serve.view import DatasetView
    from factory.web.guard import check_address
    from factory.web.server import bind, serve_until_stopped

    token = os.environ.get(TOKEN_VARIABLE, "")
    check_address(host, token, variable=TOKEN_VARIABLE)
    store = find_store(dataset)
    root = root_of(store)
    if root is not None:
        app, what = make_folder_app(root, token=token), f"{len(root.names()):,} datasets in "
    else:
        view = DatasetView(store)
        view.snapshot()  # fails now instead of at every request
        app, what = make_app(view, token=token), ""
    opened = bind(host, port)
    place = f"[{host}]" if ":" in host else host
    say(f"serving {what}{store.uri} on http://{place}:{opened.getsockname()[1]}/ (Ctrl-C ends it)")
    serve_until_stopped(app, opened)


@one_line_errors
def replay(
    dataset: Where,
    key: Annotated[str, typer.Argument(help="Nine-digit key of a sample.", metavar="KEY")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Also write its files into this folder.")
    ] = None,
    trust_plugins: TrustPlugins = False,  # noqa: FBT002
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Regenerate one sample and compare it with the stored one, byte for byte."""
    from factory.care.replay import replay_sample
    from factory.cli.shared import import_from_here
    from factory.dataset.own_folder import check_outside
    from factory.errors import DamageError
    from factory.run.worker import configure_process

    if output is not None:
        check_outside(output, "-o")
    store = find_store(dataset)
    if trust_plugins:
        import_from_here()
    configure_process()
    sample, problems = replay_sample(store, key, trust_plugins=trust_plugins)
    if output is not None:
        with writing_into(output):
            output.mkdir(parents=True, exist_ok=True)
        for ending, data in sample.files:
            replace_file(output / f"{sample.facts.key}.{ending}", data)
            if not as_json:
                say(f"wrote {output / f'{sample.facts.key}.{ending}'}")
    if problems:
        raise DamageError(found="; ".join(map(str, problems)), problems=tuple(problems))
    if as_json:
        endings = [ending for ending, _ in sample.files]
        print_json({"key": sample.facts.key, "is_equal": True, "files": endings})
        return
    say(f"{sample.facts.key}: {len(sample.files)} files made again byte for byte")

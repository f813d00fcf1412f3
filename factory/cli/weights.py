"""The commands for weights files: `inspect` and `convert`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.shared import AsJson, one_line_errors, print_json, say
from factory.errors import UnknownGeneratorError

File = Annotated[
    Path,
    typer.Argument(
        help="Checkpoint of any supported format, a model folder, or `shipped:NAME`.",
        metavar="FILE",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(help="JSON file with settings, for files that contain only tensors."),
]


@one_line_errors
def inspect(file: File, config: Config = None, as_json: AsJson = False) -> None:  # noqa: FBT002
    """Show family, size, feature maps and assumptions of a checkpoint. No code in it is run."""
    from factory.checkpoint import CHANNELS
    from factory.generate.inspect import inspect_weights

    file = _on_this_machine(file)
    try:
        found = inspect_weights(file, config=config)
    except UnknownGeneratorError:
        _show_template(file, as_json=as_json)
        raise
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    rows = {
        "family": found.family,
        "layout": found.layout,
        "sha256": found.sha256,
        "image": f"{found.resolution} x {found.resolution} px, {CHANNELS[found.channels]}",
        "classes": ", ".join(found.class_names) or str(found.num_classes or "none"),
        "parameters": f"{found.num_parameters:,} in {found.num_tensors} tensors",
        "licence": found.license or "not stated",
        "critic": found.discriminator,
        "source": found.source_sha256 or "none inside",
    }
    for name, value in rows.items():
        say(f"{name:<12}{value}")
    for layer in found.layers:
        say(f"{'layer':<12}{layer.name:<16}{layer.channels} x {layer.height} x {layer.width}")
    for assumption in found.assumptions:
        say(f"{'assumed':<12}{assumption}")
    for note in found.notes:
        say(f"{'note':<12}{note}")
    for warning in found.warnings:
        say(f"{'warning':<12}{warning}")


def _on_this_machine(file: Path) -> Path:
    from factory.generate.weights.shipped import find_shipped_weights

    return find_shipped_weights(str(file), "FILE") or file


def _show_template(file: Path, *, as_json: bool) -> None:
    from factory.checkpoint import list_tensors, weights_file
    from factory.generate.template import MOST_LISTED, plugin_template

    tensors = list_tensors(weights_file(file))
    template = plugin_template(file.name, tensors)
    if as_json:
        listed = [dataclasses.asdict(fact) for fact in tensors[:MOST_LISTED]]
        print_json({"num_tensors": len(tensors), "tensors": listed, "template": template})
    else:
        say(template)


@one_line_errors
def convert(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="Output safetensors file.")],
    config: Config = None,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Convert a checkpoint of any supported format to safetensors that includes its settings."""
    from factory.checkpoint import read_checkpoint, write_safetensors
    from factory.dataset.own_folder import check_outside
    from factory.generate.inspect import describe_discriminator

    check_outside(output, "-o")
    checkpoint = read_checkpoint(_on_this_machine(file), config=config, with_discriminator=True)
    write_safetensors(checkpoint, output)
    if as_json:
        print_json(
            {
                "output": str(output),
                "family": checkpoint.family,
                "layout": checkpoint.layout,
                "critic": checkpoint.discriminator is not None,
                "assumptions": list(checkpoint.assumptions),
                "warnings": list(checkpoint.warnings),
            }
        )
        return
    say(f"wrote {output}: {checkpoint.family}, from {checkpoint.layout}")
    if checkpoint.discriminator is not None:
        say(f"{'critic':<12}{describe_discriminator(checkpoint.discriminator)}")
    for assumption in checkpoint.assumptions:
        say(f"{'assumed':<12}{assumption}")
    for warning in checkpoint.warnings:
        say(f"{'warning':<12}{warning}")

"""The command line: every command by its name, in the order of `factory --help`.

It contains no logic. Heavy imports are inside the commands, so that `factory --help` and
`factory plan` start quickly.
"""

from typing import Annotated

import typer

from factory.cli import care as cli_care
from factory.cli import catalogue as cli_catalogue
from factory.cli import dataset as cli_dataset
from factory.cli import derive as cli_derive
from factory.cli import downstream as cli_downstream
from factory.cli import edit as cli_edit
from factory.cli import evaluate as cli_eval
from factory.cli import evaluate_model as cli_eval_model
from factory.cli import export as cli_export
from factory.cli import first_job as cli_first_job
from factory.cli import job as cli_job
from factory.cli import label as cli_label
from factory.cli import paint as cli_paint
from factory.cli import run as cli_run
from factory.cli import sample as cli_sample
from factory.cli import serve as cli_serve
from factory.cli import train as cli_train
from factory.cli import translation as cli_translation
from factory.cli import weights as cli_weights
from factory.cli.shared import say
from factory.provenance import own_version

app = typer.Typer(
    help="Turn a pretrained image generator into a segmentation dataset, without annotators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},  # subcommands inherit them
)


def _print_version(is_asked: bool) -> bool:  # noqa: FBT001 - typer's signature
    if is_asked:
        say(f"maskfactory {own_version()}")
        raise typer.Exit
    return is_asked


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
]


@app.callback()
def _options(version: Version = False) -> None:  # noqa: FBT002 - a command line flag
    pass


app.command()(cli_first_job.init)
app.command()(cli_job.plan)
app.command()(cli_job.fit)
app.command()(cli_run.run)
app.command()(cli_run.grow)
app.command()(cli_dataset.status)
app.command()(cli_care.verify)
app.command()(cli_dataset.preview)
app.command()(cli_catalogue.explain)
app.command()(cli_catalogue.schema)
app.command()(cli_catalogue.generators)
app.command()(cli_catalogue.segmenters)
app.command()(cli_serve.serve)
app.command()(cli_serve.replay)
app.command()(cli_edit.edit)
app.command()(cli_sample.sample)
app.command()(cli_paint.paint)
app.command()(cli_label.label)
app.command()(cli_care.doctor)
app.command()(cli_care.repair)
app.command("gc")(cli_care.collect_garbage)
app.add_typer(cli_care.quarantine)
app.command()(cli_weights.inspect)
app.command()(cli_weights.convert)
app.command()(cli_derive.subset)
app.command()(cli_derive.merge)
app.command()(cli_export.export)
app.command()(cli_downstream.train)
app.command()(cli_translation.train_translation)
app.command()(cli_translation.translate)
app.command()(cli_train.train_generator)
app.command()(cli_train.judge_generator)
app.command()(cli_train.pack_training)
cli_eval.app.command()(cli_eval_model.model)
app.add_typer(cli_eval.app, name="eval")

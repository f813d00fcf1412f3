"""The commands of mask to image: `train-translation` and `translate`."""

import threading
from pathlib import Path
from typing import Annotated, Literal

import typer

from factory.cli.shared import AsJson, Where, find_store, one_line_errors, print_json, say

_EVERY = 50

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the training.")]
Size = Annotated[Literal["S", "M"], typer.Option(help="S for a CPU, M for a GPU.")]
Steps = Annotated[int, typer.Option(min=1, help="Steps.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Pairs per step.")]
Every = Annotated[int, typer.Option(min=1, help="Steps between saves and log lines.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed.")]
Model = Annotated[
    Path | None,
    typer.Option(help="Network of `factory train` that says whether images show their masks."),
]


@one_line_errors
def train_translation(  # noqa: PLR0913, PLR0917 - options, each by its name
    dataset: Where,
    output: Output,
    size: Size = "S",
    steps: Steps = 4000,
    batch_size: BatchSize = 8,
    every: Every = 200,
    seed: Seed = 0,
    model: Model = None,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Train a network that makes images from masks (SPADE) on a dataset. Run it again to resume."""
    from factory.dataset.own_folder import check_outside
    from factory.downstream.model_file import open_model
    from factory.downstream.pairs import open_pairs
    from factory.downstream.translation import TranslationTraining, open_translator
    from factory.downstream.translation_report import draw_translations, score_translations
    from factory.downstream.translation_settings import TranslationSettings
    from factory.run.signals import stop_on_signals
    from factory.spec.check import check_settings
    from factory.store.single_file import make_folder, replace_file

    given = {"size": size, "steps": steps, "batch_size": batch_size, "every": every, "seed": seed}
    settings = check_settings(TranslationSettings, given, source="train-translation")
    check_outside(output, "-o")
    judge = open_model(model) if model is not None else None
    pairs, val = open_pairs(find_store(dataset))
    held_out = pairs if val is None else val
    make_folder(output)
    stop = threading.Event()

    def progress(done: int, total: int, difference: float) -> None:
        if done % _EVERY == 0 or done == total:
            say(f"step {done:,} of {total:,}, pixels differ by {difference:.4f}", err=as_json)

    with stop_on_signals(stop):
        path = TranslationTraining(pairs, output, settings).run(stop, progress)
    translator = open_translator(path)
    replace_file(output / "sheet.png", draw_translations(translator, held_out))
    made, real = score_translations(translator, judge, held_out) if judge else (None, None)
    if as_json:
        files = {"output": str(path), "sheet": f"{output}/sheet.png"}
        print_json(files | {"steps": steps, "miou": made, "miou_of_images": real})
        return
    say(f"trained {steps:,} steps: {path}, {output}/sheet.png")
    if judge is not None:
        say(
            f"mIoU of {judge.path.name} with the masks: {made:.3f}; of their own images: {real:.3f}"
        )


Translator = Annotated[
    Path, typer.Argument(help="translator.safetensors, or its folder.", metavar="FILE")
]
Mask = Annotated[Path, typer.Argument(help="PNG of class ids.", metavar="PNG")]
Image = Annotated[Path, typer.Option("-o", "--output", help="PNG to write.")]


@one_line_errors
def translate(
    translator: Translator,
    mask: Mask,
    output: Image,
    seed: Seed = 0,
    as_json: AsJson = False,  # noqa: FBT002 - a command line flag
) -> None:
    """Make an image from a mask with a network of `train-translation`."""
    import numpy as np
    import torch

    from factory.dataset.own_folder import check_outside
    from factory.downstream.translation import open_translator
    from factory.errors import JobError
    from factory.pack.image import decode_mask, encode_image
    from factory.spec import EncodeSpec
    from factory.store.single_file import make_folder, replace_file

    check_outside(output, "-o")
    opened = open_translator(translator)
    try:
        ids = decode_mask(mask.read_bytes(), ("L", "P"))
    except (OSError, ValueError) as error:
        raise JobError(where=str(mask), found=str(error), allowed="a PNG of class ids") from error
    image = opened.translate(torch.from_numpy(ids.astype(np.int64))[None], seed)[0]
    make_folder(output.parent)
    replace_file(output, encode_image(image, EncodeSpec()))
    if as_json:
        print_json({"output": str(output), "seed": seed})
    else:
        say(f"wrote {output}")

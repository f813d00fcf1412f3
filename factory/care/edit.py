"""Edit a sample of a dataset: move its latents until its mask has what somebody painted.

The latents are found as regeneration finds them, from the dataset's own plan. Source: Xu and Zheng,
"Linear Semantics in Generative Adversarial Networks", CVPR 2021 (semantic image editing).
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from factory.arguments import check_arguments
from factory.care.replay import find_maker
from factory.data import IGNORE, LatentBatch
from factory.edit.figures import EditFigures, measure_edit
from factory.edit.objective import Pull, mean_iou
from factory.edit.search import check_gradients, move, render
from factory.edit.strokes import layout_of_edit
from factory.edit.wish import Wish
from factory.errors import JobError
from factory.fit.annotations.classes import make_classes
from factory.fit.annotations.folder import check_mask, read_mask
from factory.fit.pixels.pool import one_thread
from factory.generate.base import DifferentiableGenerator
from factory.pack.image import decode_image, decode_mask, encode_image, encode_mask
from factory.segment.base import DifferentiableSegmenter
from factory.shard import ShardMaker
from factory.spec import EncodeSpec
from factory.store import Store, open_store
from factory.store.single_file import replace_file, writing_into

_MOST_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class EditSettings:
    """How latents are moved. The defaults are those of the authors."""

    steps: int = 50
    """Steps of Adam."""
    learning_rate: float = 0.01
    """Its learning rate."""
    latents: Literal["per_layer", "shared"] = "per_layer"
    """One latent for each style row, or one for all; a generator without style rows has one."""
    stay: float = 1e-3
    """Weight of the distance from the sample's own latents in the loss."""
    prior: float = 1e-3
    """Weight of the latents' length in the loss."""

    def __post_init__(self) -> None:
        """Refuse numbers that no descent can use.

        Raises:
            JobError: If there are any.
        """
        if not 1 <= self.steps <= _MOST_STEPS:
            allowed = f"1 to {_MOST_STEPS:,}"
            raise JobError(where="steps", found=f"found {self.steps}", allowed=allowed)
        if not 0 < self.learning_rate <= 10:
            found = f"found {self.learning_rate}"
            raise JobError(where="learning_rate", found=found, allowed="more than 0, up to 10")


@dataclass(frozen=True, slots=True)
class EditedPair:
    """A sample before and after it was edited."""

    key: str
    """The sample's key."""
    image: UInt8[np.ndarray, "h w 3"]
    """Its image, as it was."""
    mask: UInt8[np.ndarray, "h w"]
    """Its mask, as it was."""
    edited: UInt8[np.ndarray, "h w 3"]
    """The edited image."""
    edited_mask: UInt8[np.ndarray, "h w"]
    """The edited image's mask, made by the dataset's segmenter."""
    figures: EditFigures
    """What changed."""
    layout_iou: tuple[float, float]
    """Mean IoU of the masks with the whole wanted mask, before and after."""
    num_forwards: int
    """Images that were computed."""

    def facts(self) -> dict[str, object]:
        """The figures as JSON values."""
        before, after = self.layout_iou
        return {
            "key": self.key,
            "layout_iou_before": round(before, 6),
            "layout_iou_after": round(after, 6),
            **asdict(self.figures),
            "forwards": self.num_forwards,
        }


@check_arguments
def edit_sample(
    dataset: Store | str | Path,
    key: str,
    mask: Path | str | UInt8[np.ndarray, "h w"],
    *,
    settings: EditSettings = EditSettings(),
    trust_plugins: bool = False,
) -> EditedPair:
    """Edit the sample `key` so that its mask becomes `mask` where that is painted.

    Args:
        dataset: A dataset, or where it lies.
        key: The sample's key, nine digits.
        mask: The wanted mask, or the path of a PNG: class ids as grey values, or colours of the
            classes; 255, transparent or black = stays as it is.
        settings: How latents are moved.
        trust_plugins: Let the job that lies in the dataset name code to run.

    Returns:
        Images and masks before and after.

    Raises:
        JobError: If the mask cannot be used, or the dataset's generator or segmenter has no gradients.
        StoreError: If no committed shard contains the sample, or another version made it.
        DamageError: If its shard is missing or truncated.
        WeightsError: If the dataset's weights are not on this machine.
    """
    store = dataset if isinstance(dataset, Store) else open_store(str(dataset))
    with one_thread():
        maker, task = find_maker(store, key, trust_plugins=trust_plugins)
        if maker.dataset.compose is not None:
            raise JobError(
                where="edit",
                found="this dataset has composites, and only what a generator made can be edited",
                remedy="edit a sample of a dataset without `compose`",
            )
        check_gradients(maker.generator, maker.segmenter, where="edit")
        painted = _read(mask, maker)
        files = dict(maker.replay(task, int(key)).files)
        image = next(data for name, data in files.items() if name.startswith("image."))
        before = decode_image(image), decode_mask(files["mask.png"])
        latents, z = maker.find_latents(task, int(key))
        if settings.latents == "per_layer":
            z = z.expand(-1, getattr(maker.generator, "latent_rows", 1), -1)
        return _edit(maker, key, before, painted, (latents, z), settings)


def _read(mask: Path | str | np.ndarray, maker: ShardMaker) -> UInt8[np.ndarray, "h w"]:
    side, labels = maker.generator.facts.resolution, maker.segmenter.labels
    if not isinstance(mask, np.ndarray):
        return read_mask(Path(mask), make_classes(labels), side)
    try:
        check_mask(mask, side)
    except ValueError as error:
        raise JobError(where="mask", found=str(error)) from error
    if ((mask >= len(labels)) & (mask != IGNORE)).any():
        raise JobError(
            where="mask",
            found=f"found class {mask[mask != IGNORE].max()}",
            allowed=f"allowed: 0 to {len(labels) - 1}, and 255 = stays as it is",
        )
    return mask


def _edit(
    maker: ShardMaker,
    key: str,
    before: tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]],
    painted: UInt8[np.ndarray, "h w"],
    start: tuple[LatentBatch, Tensor],
    settings: EditSettings,
) -> EditedPair:
    image, mask = before
    latents, z = start
    generator, segmenter = maker.generator, maker.segmenter
    assert isinstance(generator, DifferentiableGenerator)  # `check_gradients` looked
    assert isinstance(segmenter, DifferentiableSegmenter)
    on_host = [torch.from_numpy(part.copy())[None] for part in (mask, painted)]
    wanted = layout_of_edit(*on_host).to(maker.device)
    moved = move(
        Wish(generator, segmenter, latents, wanted),
        z,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        pull=Pull(settings.stay, settings.prior),
    )
    batch, labelled = render(generator, segmenter, latents, moved.z)
    edited, edited_mask = batch.images[0].cpu().numpy(), labelled.masks[0].cpu().numpy()
    both = torch.from_numpy(np.stack([mask, edited_mask]))
    ious = mean_iou(both, wanted.cpu().expand(2, -1, -1), len(segmenter.labels)).tolist()
    return EditedPair(
        key=key,
        image=image,
        mask=mask,
        edited=edited,
        edited_mask=edited_mask,
        figures=measure_edit((image, edited), (mask, edited_mask), painted),
        layout_iou=(ious[0], ious[1]),
        num_forwards=settings.steps + 2,
    )


def write_pair(pair: EditedPair, folder: Path) -> list[Path]:
    """Write the pair into `folder` as four PNG and a JSON with the figures; the files, in order.

    Raises:
        JobError: If they cannot be written.
    """
    with writing_into(folder):
        folder.mkdir(parents=True, exist_ok=True)
    files = {
        "image.png": encode_image(pair.image, EncodeSpec()),
        "edited.png": encode_image(pair.edited, EncodeSpec()),
        "mask.png": encode_mask(pair.mask),
        "edited_mask.png": encode_mask(pair.edited_mask),
        "json": (json.dumps(pair.facts(), indent=1) + "\n").encode(),
    }
    written = []
    for ending, data in files.items():
        written.append(folder / f"{pair.key}.{ending}")
        replace_file(written[-1], data)
    return written

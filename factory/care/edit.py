"""Edit a sample of a dataset: move its latents until its mask has what somebody painted.

The latents are found as regeneration finds them, from the dataset's own plan. Source: Xu and Zheng,
"Linear Semantics in Generative Adversarial Networks", CVPR 2021 (semantic image editing).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NoReturn

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from factory.arguments import check_arguments
from factory.care.replay import find_maker
from factory.data import IGNORE, EditFigures, LatentBatch
from factory.edit.figures import measure_edit
from factory.edit.objective import Pull, mean_iou
from factory.edit.search import check_gradients, move, render
from factory.edit.strokes import layout_of_edit
from factory.edit.wish import Wish
from factory.errors import JobError
from factory.fit.annotations.classes import make_classes
from factory.fit.annotations.folder import check_mask, read_mask
from factory.fit.pixels.pool import one_thread
from factory.generate.base import DifferentiableGenerator
from factory.manifest.labels import MaskClass
from factory.pack.image import decode_image, decode_mask, encode_image, encode_mask
from factory.segment.base import DifferentiableSegmenter
from factory.shard import ShardMaker
from factory.spec import EncodeSpec
from factory.store import Store, open_store
from factory.store.single_file import replace_file, writing_into

_MOST_STEPS, _MOST_WEIGHT = 10_000, 1_000
_LATENTS = ("per_layer", "shared")


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
        if not (_is_number(self.steps, int) and 1 <= self.steps <= _MOST_STEPS):
            _refuse("steps", self.steps, f"1 to {_MOST_STEPS:,}")
        if not (_is_number(self.learning_rate) and 0 < self.learning_rate <= 10):
            _refuse("learning_rate", self.learning_rate, "more than 0, up to 10")
        if self.latents not in _LATENTS:
            _refuse("latents", self.latents, " or ".join(_LATENTS))
        for name in ("stay", "prior"):
            weight = getattr(self, name)
            if not (_is_number(weight) and 0 <= weight <= _MOST_WEIGHT):
                _refuse(name, weight, f"0 to {_MOST_WEIGHT:,}")


def _is_number(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds or (int, float)) and not isinstance(value, bool)


def _refuse(name: str, value: object, allowed: str) -> NoReturn:
    raise JobError(where=name, found=f"found {value!r}", allowed=allowed)


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


@dataclass(frozen=True, slots=True)
class EditableSample:
    """A sample that can be edited, with what made it."""

    key: str
    """Its key."""
    image: UInt8[np.ndarray, "h w 3"]
    """Its image."""
    mask: UInt8[np.ndarray, "h w"]
    """Its mask."""
    maker: ShardMaker
    """What made it."""
    latents: LatentBatch
    """Its latents, as a batch of one."""
    z: Float[Tensor, "1 rows z"]
    """Those that its image was made of."""

    @property
    def labels(self) -> tuple[MaskClass, ...]:
        """The classes of its mask."""
        return tuple(self.maker.segmenter.labels)

    def check(self, painted: UInt8[np.ndarray, "h w"]) -> None:
        """Require a mask of this sample.

        Raises:
            JobError: If it has another size, an unknown class, or nothing painted that is not there.
        """
        try:
            check_mask(painted, len(self.mask))
        except ValueError as error:
            raise JobError(where="mask", found=str(error)) from error
        ids = painted[painted != IGNORE]
        if ids.max() >= len(self.labels):
            raise JobError(
                where="mask",
                found=f"found class {ids.max()}",
                allowed=f"allowed: 0 to {len(self.labels) - 1}, and 255 = stays as it is",
            )
        if ((painted == IGNORE) | (painted == self.mask)).all():
            found = f"changes nothing: sample {self.key} has these classes there"
            raise JobError(where="mask", found=found, remedy="paint a change")

    def edit(
        self,
        painted: UInt8[np.ndarray, "h w"],
        settings: EditSettings,
        on_step: Callable[[int, float], None] | None = None,
    ) -> EditedPair:
        """Edit it so that its mask becomes `painted` where that is not 255.

        Args:
            painted: The wanted mask, which was checked.
            settings: How latents are moved.
            on_step: Called before each step with its number and the best IoU so far. What it raises
                ends the edit.
        """
        generator, segmenter = self.maker.generator, self.maker.segmenter
        assert isinstance(generator, DifferentiableGenerator)  # `check_gradients` looked
        assert isinstance(segmenter, DifferentiableSegmenter)
        rows = getattr(generator, "latent_rows", 1) if settings.latents == "per_layer" else -1
        on_host = [torch.from_numpy(part.copy())[None] for part in (self.mask, painted)]
        wanted = layout_of_edit(*on_host).to(self.maker.device)
        moved = move(
            Wish(generator, segmenter, self.latents, wanted),
            self.z.expand(-1, rows, -1),
            steps=settings.steps,
            learning_rate=settings.learning_rate,
            pull=Pull(settings.stay, settings.prior),
            on_step=on_step,
        )
        batch, labelled = render(generator, segmenter, self.latents, moved.z)
        edited, edited_mask = batch.images[0].cpu().numpy(), labelled.masks[0].cpu().numpy()
        both = torch.from_numpy(np.stack([self.mask, edited_mask]))
        ious = mean_iou(both, wanted.cpu().expand(2, -1, -1), len(self.labels)).tolist()
        return EditedPair(
            key=self.key,
            image=self.image,
            mask=self.mask,
            edited=edited,
            edited_mask=edited_mask,
            figures=measure_edit((self.image, edited), (self.mask, edited_mask), painted),
            layout_iou=(ious[0], ious[1]),
            num_forwards=settings.steps + 2,
        )


def open_sample(store: Store, key: str, *, trust_plugins: bool = False) -> EditableSample:
    """Find what made the sample `key`, and make it again.

    Raises:
        JobError: If the dataset's generator or segmenter has no gradients.
        StoreError: If no committed shard contains the sample, or another version made it.
        DamageError: If its shard is missing or truncated.
        WeightsError: If the dataset's weights are not on this machine.
    """
    maker, task = find_maker(store, key, trust_plugins=trust_plugins)
    if maker.dataset.compose is not None:
        raise JobError(
            where="edit",
            found="this dataset has composites, and only what a generator made can be edited",
            remedy="edit a sample of a dataset without `compose`",
        )
    check_gradients(maker.generator, maker.segmenter, where="edit")
    files = dict(maker.replay(task, int(key)).files)
    image = next(data for name, data in files.items() if name.startswith("image."))
    latents, z = maker.find_latents(task, int(key))
    return EditableSample(
        key, decode_image(image), decode_mask(files["mask.png"]), maker, latents, z
    )


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
        sample = open_sample(store, key, trust_plugins=trust_plugins)
        if isinstance(mask, np.ndarray):
            painted = mask
        else:
            painted = read_mask(Path(mask), make_classes(sample.labels), len(sample.mask))
        sample.check(painted)
        return sample.edit(painted, settings)


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

"""Plain folders of images and masks: for mmseg, FiftyOne, fastai, MONAI, nnU-Net and Pascal VOC."""

import io
import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from factory.data import IGNORE
from factory.export.examples import BACKGROUND, Exported, write_file, write_lines
from factory.manifest.paths import TRAIN
from factory.pack.image import encode_mask
from factory.segment.palette import colour_at

_NNUNET_IGNORE = "ignore"
"""What nnU-Net calls the label that it does not train on; label 0 is background."""
_VOID = (224, 224, 192)
"""The colour of pixels without a class in Pascal VOC."""


def export_folders(source: Exported, folder: Path) -> int:
    """Write `images/SPLIT/KEY.*`, `masks/SPLIT/KEY.png` (class ids, 255 = ignore) and `classes.txt`.

    Samples with edits also have `edited/SPLIT/KEY.*` and `edited_masks/SPLIT/KEY.png`.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    num_images = 0
    for example in source:
        write_file(folder, f"images/{example.split}/{example.name}", example.image)
        data = encode_mask(np.ascontiguousarray(example.mask))
        write_file(folder, f"masks/{example.split}/{example.key}.png", data)
        edited_mask = example.sample.edited_mask
        if edited_mask is not None:
            write_file(folder, f"edited/{example.split}/{example.name}", example.edited)
            data = encode_mask(np.ascontiguousarray(edited_mask))
            write_file(folder, f"edited_masks/{example.split}/{example.key}.png", data)
        num_images += 1
    write_lines(folder, "classes.txt", source.class_names)
    return num_images


def export_nnunet(source: Exported, folder: Path) -> int:
    """Write `imagesTr`, `labelsTr`, `imagesTs`, `labelsTs` and `dataset.json` of an nnU-Net raw dataset.

    Held-out samples of `val` are training cases with a fold of their own in `splits_final.json`, which
    belongs into the folder of preprocessed data. As nnU-Net demands, ignored pixels are the last label,
    and the ground is label 0, called background; the other classes follow in their order. One of them
    that is called background or ignore gets a longer name.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    order = sorted(range(len(source.class_names)), key=lambda class_id: class_id != source.ground)
    names = [source.class_names[class_id] for class_id in order]
    places = np.full(256, len(names), dtype=np.uint8)
    places[order] = range(len(names))
    cases: dict[str, list[str]] = defaultdict(list)
    has_ignored = False
    for example in source:
        case = f"{source.manifest.name}_{example.key}"
        part = "Ts" if example.split == "test" else "Tr"
        has_ignored |= bool((example.mask == IGNORE).any())
        write_file(folder, f"images{part}/{case}_0000.png", example.png())
        write_file(folder, f"labels{part}/{case}.png", encode_mask(places[example.mask]))
        cases[example.split].append(case)
    labels = {name: place for place, name in enumerate(_nnunet_names(names))}
    if has_ignored:
        labels[_NNUNET_IGNORE] = len(names)
    document = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": labels,
        "numTraining": len(cases[TRAIN]) + len(cases["val"]),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "name": source.manifest.name,
        "description": f"label 0 is {names[0]}; dataset {source.manifest.dataset_id}",
        "license": source.manifest.meaning.license,
    }
    write_file(folder, "dataset.json", _json(document))
    if cases["val"]:
        folds = [{"train": cases[TRAIN], "val": cases["val"]}]
        write_file(folder, "splits_final.json", _json(folds))
    return sum(map(len, cases.values()))


def export_voc(source: Exported, folder: Path) -> int:
    """Write the folders of Pascal VOC with `labelmap.txt`, which CVAT imports as "Segmentation mask".

    Masks are palette PNG in the colours of the classes; 255 is void. As readers tell classes by colour,
    a class that has the colour of an earlier one, or of void, gets another.

    Returns:
        The number of images.

    Raises:
        DamageError: If a shard is missing or damaged.
        OSError: If the folder cannot be written.
    """
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[IGNORE] = _VOID
    colours = _distinct_colours(source)
    palette[: len(colours)] = colours
    keys: dict[str, list[str]] = {split: [] for split in source.splits}
    for example in source:
        write_file(folder, f"JPEGImages/{example.name}", example.image)
        data = _palette_png(np.array(example.mask), palette)
        write_file(folder, f"SegmentationClass/{example.key}.png", data)
        keys[example.split].append(example.key)
    for split, inside in keys.items():
        write_lines(folder, f"ImageSets/Segmentation/{split}.txt", inside)
    rows = [
        f"{name.replace(':', ' ')}:{','.join(map(str, colour))}::"
        for name, colour in zip(source.class_names, colours, strict=True)
    ]
    write_lines(folder, "labelmap.txt", ["# label:color_rgb:parts:actions", *rows])
    return sum(map(len, keys.values()))


def _nnunet_names(names: Sequence[str]) -> list[str]:
    """Names of the labels: two are nnU-Net's own, and no two are equal."""
    found = [BACKGROUND]
    for name in names[1:]:
        while name in (*found, _NNUNET_IGNORE):
            name += "_class"  # noqa: PLW2901 - until it is free
        found.append(name)
    return found


def _distinct_colours(source: Exported) -> list[tuple[int, int, int]]:
    """A colour for each class, its own if no other has it."""
    own = [label.colour for label in source.manifest.meaning.labels]
    taken = {_VOID, *own}
    found: list[tuple[int, int, int]] = []
    for colour in own:
        if colour in (*found, _VOID):
            found.append(next(spare for spare in map(colour_at, count()) if spare not in taken))
            taken.add(found[-1])
        else:
            found.append(colour)
    return found


def _palette_png(mask: UInt8[np.ndarray, "h w"], palette: UInt8[np.ndarray, "k 3"]) -> bytes:
    picture = Image.fromarray(mask, "L")
    picture.putpalette(palette.tobytes())
    sink = io.BytesIO()
    picture.save(sink, "PNG")
    return sink.getvalue()


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1) + "\n").encode()

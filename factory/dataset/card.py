"""The dataset card: `README.md` of a dataset, with the front matter that dataset hubs read."""

import re
from itertools import zip_longest

from factory.dataset.compared import compare
from factory.dataset.near_train import NEAR_BITS, NONE_NEAR, NearTrain
from factory.manifest.paths import (
    CARD_PICTURE,
    NEAR_TRAIN_PATH,
    ORIGINS_PATH,
    TRAIN,
    tar_path,
)
from factory.manifest.records import Manifest
from factory.manifest.totals import Totals
from factory.pack.image import IMAGE_ENDING
from factory.spec.yaml_text import dump_yaml

_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
)


def encode_card(manifest: Manifest, near: NearTrain = NONE_NEAR) -> bytes:
    """Encode the dataset card: picture, size, classes, how to read it, origin, licence."""
    totals = manifest.totals
    return "\n".join(
        [
            "---",
            dump_yaml(_front_matter(manifest, totals)).strip(),
            "---",
            f"# {manifest.name}",
            "",
            f"![images, and masks over images]({CARD_PICTURE})",
            "",
            f"{manifest.num_samples:,} image/mask pairs in {len(manifest.records):,} shards, made by "
            f"a generator and a segmenter without annotators. Dataset id `{manifest.dataset_id}`.",
            "",
            *_classes(manifest, totals),
            "",
            *_splits(manifest, totals, near),
            *_compared(manifest, totals),
            *_reading(manifest, totals),
            "",
            *_origin(manifest),
            "",
        ]
    ).encode()


def _front_matter(manifest: Manifest, totals: Totals) -> dict[str, object]:
    count = manifest.num_samples
    size = next((word for limit, word in _SIZES if count < limit), "100M<n<1B")
    license_id = manifest.meaning.license.lower() or "unknown"
    return {
        "pretty_name": manifest.name,
        "license": license_id,
        "task_categories": ["image-segmentation"],
        "size_categories": [size],
        "tags": ["synthetic", "webdataset"],
        "dataset_info": {
            "splits": [
                {"name": split, "num_examples": totals.samples_of(split)}
                for split in manifest.splits
            ]
        },
        "id2label": {label.id: label.name for label in manifest.meaning.labels},
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": split, "path": tar_path("*", split)} for split in manifest.splits
                ],
            }
        ],
    }


def _classes(manifest: Manifest, totals: Totals) -> list[str]:
    total_px = totals.ignore_px + sum(totals.class_px) or 1
    counts = zip_longest(totals.class_images, totals.class_px, fillvalue=0)
    by_class = dict(enumerate(counts))
    lines = ["| mask value | class | samples | share of pixels |", "|---|---|---|---|"]
    for label in manifest.meaning.labels:
        images, px = by_class.get(label.id, (0, 0))
        lines.append(
            f"| {label.id} | {table_cell(label.name)} | {images:,} | {px / total_px:.1%} |"
        )
    lines.append(f"| 255 | no class: do not score | | {totals.ignore_px / total_px:.1%} |")
    if manifest.meaning.doubts:
        told = "Doubtful, as the fit, those who named its classes and the first images told:"
        lines += ["", told, ""]
        lines += [f"- {_plain(doubt)}" for doubt in manifest.meaning.doubts]
    return lines


def _splits(manifest: Manifest, totals: Totals, near: NearTrain) -> list[str]:
    """A row for each split; none in a dataset that is not divided."""
    if manifest.splits == (TRAIN,):
        return []
    lines = ["| split | samples | near a training sample | shards |", "|---|---|---|---|"]
    for split in manifest.splits:
        marked = f"{near.count(split):,}" if split != TRAIN else ""
        lines.append(
            f"| {split} | {totals.samples_of(split):,} | {marked} | {totals.shards_of(split):,} |"
        )
    text = (
        f"A held-out sample is near if its perceptual hash differs from that of a training sample in at "
        f"most {NEAR_BITS} of 64 bits. `{NEAR_TRAIN_PATH}` lists these samples; readers and exports of "
        "maskfactory leave them out, others read them."
    )
    return [*lines, "", text, ""]


def _compared(manifest: Manifest, totals: Totals) -> list[str]:
    """Two rows of figures; none in a dataset whose masks were not compared with others."""
    found = compare(totals.agreement)
    if found is None:
        return []
    # A dataset that was copied from others does not know which methods they were compared with.
    others = manifest.identity.get("agreement", {}).get("others", ())
    names = " and ".join(_plain(str(other["kind"])) for other in others) or "other methods"
    quantiles = ", ".join(f"{at:.2f} ({share:.0%})" for share, at in found.quantiles.items())
    return [
        f"Each mask was compared with those of {names} for the same latent: `agreement` in the facts is "
        f"the mean IoU. Its quantiles are {quantiles}.",
        "",
        f"| least agreement | {' | '.join(f'{least:g}' for least in found.kept)} |",
        f"|---|{'---|' * len(found.kept)}",
        f"| samples that it keeps | {' | '.join(f'{share:.1%}' for share in found.kept.values())} |",
        "",
    ]


def table_cell(name: str) -> str:
    """A class's name for a table of Markdown; anybody may have given it."""
    return _plain(name).replace(r"\_", "_")  # the names of clusters, which nothing takes for markup


def _plain(text: str) -> str:
    """Text of a dataset's files without what Markdown or HTML would take for markup."""
    return re.sub(r"([\\*_<>\[\]|#~&])", r"\\\1", " ".join(text.split()))


def _reading(manifest: Manifest, totals: Totals) -> list[str]:
    pattern = tar_path(f"{manifest.name}-{{000000..{totals.last_number:06d}}}")
    image = f"image.{IMAGE_ENDING[manifest.identity['encode']['image']]}"
    return [
        "```python",
        "import webdataset as wds",
        f'pairs = wds.WebDataset("{pattern}", shardshuffle=False).decode("pil")',
        "for sample in pairs:",
        f'    image, facts = sample["{image}"], sample["json"]',
        '    mask = sample["mask.png"].getchannel(0)  # class ids; this decoder repeats them thrice',
        "```",
        "",
        '`decode("torchrgb")` and other decoders to floats divide class ids by 255: never use them for '
        "masks. Plain webdataset does not know `s3://`: give it "
        f"`pipe:aws s3 cp s3://BUCKET/{pattern} -`. With maskfactory, which compares each tar with its "
        "receipt:",
        "",
        "```python",
        "import factory",
        "from torch.utils.data import DataLoader",
        'pairs = factory.open_dataset("s3://BUCKET").to_torch(shuffle=True)  # or a folder',
        "for batch in DataLoader(pairs, batch_size=16, num_workers=2):",
        '    images, masks = batch["image"] / 255, batch["mask"]  # ignore_index=255',
        "```",
    ]


def _origin(manifest: Manifest) -> list[str]:
    generator, segmenter = manifest.identity["generator"], manifest.identity["segmenter"]
    again = (
        "`job.yaml` makes the same bytes again; `factory verify --regenerate 10` proves it."
        if "derived" not in manifest.identity
        else f"Copied from other datasets; `{ORIGINS_PATH}` names the sample that each one is a copy of."
    )
    lines = [
        f"Generator `{generator['kind']}`, weights sha256 `{generator['weights_sha256'] or 'none'}`; "
        f"segmenter `{segmenter['kind']}`, sha256 `{segmenter['sha256'] or 'none'}`. {again}",
    ]
    if manifest.meaning.attribution:
        lines += ["", manifest.meaning.attribution]
    return lines

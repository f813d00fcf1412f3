import re

import pytest
import yaml
from receipts import a_manifest, a_record

from factory.dataset.card import encode_card
from factory.spec.yaml_text import parse_yaml


def card_of(manifest):
    """The front matter and the text below it."""
    _, front, text = encode_card(manifest).decode().split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_front_matter_is_what_hubs_read():
    front, _ = card_of(a_manifest([a_record(0)]))
    assert front == {
        "pretty_name": "tiny",
        "license": "unknown",
        "task_categories": ["image-segmentation"],
        "size_categories": ["n<1K"],
        "tags": ["synthetic", "webdataset"],
        "dataset_info": {"splits": [{"name": "train", "num_examples": 3}]},
        "id2label": {0: "ground", 1: "disc"},
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train/*.tar"}],
            }
        ],
    }


@pytest.mark.parametrize(
    ("count", "size"),
    [(999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (100_000, "100K<n<1M")],
)
def test_the_size_category_is_that_of_the_number_of_pairs(count, size):
    front, _ = card_of(a_manifest([a_record(0, num_samples=count)]))
    assert front["size_categories"] == [size]


def test_more_than_a_million_pairs_have_a_category_the_hub_knows():
    front, _ = card_of(a_manifest([a_record(0, num_samples=1_000_000)]))
    assert front["size_categories"] == ["1M<n<10M"]


def test_the_text_tells_size_id_and_each_class_with_its_share():
    _, text = card_of(a_manifest([a_record(0), a_record(1)]))
    assert "6 image/mask pairs in 2 shards" in text
    assert "Dataset id `0123456789abcdef`" in text
    assert "| 0 | ground | 6 | 97.7% |" in text
    assert "| 1 | disc | 2 | 2.3% |" in text
    assert "![images, and masks over images](preview.png)" in text
    assert f"segmenter `kmeans`, sha256 `{'cd' * 32}`" in text
    assert "Generator `shapes`, weights sha256 `none`" in text


ODD = [
    *("no", "12:30", "a: b", "'\"", "<b>|x|</b>", "Zellkern \u2603 \u00e4", "0x1f", "~", "- a"),
    *("# b", "a\u2028b", "007", "null", "2024-01-01", "-", "a #b", " c ", ""),
]


@pytest.mark.parametrize("loader", [yaml.safe_load, parse_yaml])
def test_names_that_yaml_has_other_uses_for_are_read_back_as_they_are(loader):
    manifest = a_manifest([a_record(0)])
    first = manifest.meaning.labels[0]
    labels = [first.model_copy(update={"id": k, "name": name}) for k, name in enumerate(ODD)]
    meaning = manifest.meaning.model_copy(update={"labels": labels})
    card = encode_card(manifest.model_copy(update={"meaning": meaning})).decode()
    _, front, text = card.split("---\n", 2)
    assert loader(front)["id2label"] == dict(enumerate(ODD))
    rows = [row for row in text.split("\n") if row.startswith("| ") and "%" in row]
    assert len(rows) == len(ODD) + 1
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {5}
    assert r"\<b\>\|x\|\</b\>" in text


def test_the_lines_for_reading_name_the_shards_that_are_there():
    _, text = card_of(a_manifest([a_record(0), a_record(1), a_record(12)]))
    assert 'wds.WebDataset("data/train/tiny-{000000..000012}.tar"' in text


@pytest.mark.parametrize("image", ["png", "jpeg", "webp"])
def test_the_lines_for_reading_ask_for_the_image_s_real_ending(image):
    ending = {"jpeg": "jpg"}.get(image, image)
    identity = a_manifest().identity | {"encode": {"image": image}}
    _, text = card_of(a_manifest([a_record(0)], identity=identity))
    assert f'sample["image.{ending}"]' in text


def test_licence_and_attribution_of_the_weights_go_with_the_images():
    meaning = a_manifest().meaning.model_copy(
        update={"license": "CC-BY-4.0", "attribution": "Images by Somebody."}
    )
    front, text = card_of(a_manifest([a_record(0)], meaning=meaning))
    assert front["license"] == "cc-by-4.0"
    assert text.rstrip().endswith("Images by Somebody.")


def test_a_dataset_without_shards_has_a_card_too():
    _, text = card_of(a_manifest())
    assert "0 image/mask pairs in 0 shards" in text
    assert "| 0 | ground | 0 | 0.0% |" in text


def test_doubts_about_classes_are_told_below_them_without_becoming_markup():
    plain = a_manifest([a_record(0)])
    assert "Doubtful" not in card_of(plain)[1]
    doubts = ["of 2 classes, disc (node 1) flickers: <img src=x>\n# not *a* heading"]
    meaning = plain.meaning.model_copy(update={"doubts": doubts})
    _, text = card_of(plain.model_copy(update={"meaning": meaning}))
    table, told = text.split("Doubtful, as the fit, those who named")
    assert "| 1 | disc |" in table
    line = r"- of 2 classes, disc (node 1) flickers: \<img src=x\> \# not \*a\* heading"
    assert line in told.splitlines()


def test_the_recipes_warn_of_floats_and_name_what_reads_s3():
    _, text = card_of(a_manifest([a_record(0), a_record(1)]))
    assert '`decode("torchrgb")` and other decoders to floats divide class ids by 255' in text
    assert "`pipe:aws s3 cp s3://BUCKET/data/train/tiny-{000000..000001}.tar -`" in text
    for code in text.split("```python")[1:]:
        compile(code.partition("```")[0], "card", "exec")

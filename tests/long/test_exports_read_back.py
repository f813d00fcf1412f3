"""Every export, read by the tool it is for: `python -m pytest tests/long/test_exports_read_back.py`.

A tool that is missing is named in the reason of a skip; `pip install --no-deps` keeps torch as it is.
The unit tests of `export/` read the same files with the standard library, and COCO by pycocotools.
YOLO's reader needs OpenCV and the torchvision of the installed torch; panopticapi is on no index; DALI
has 400 MB and reads on a CPU too. mmseg needs an mmcv that is compiled for the installed torch: it was
not run.
"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from outlines import painted
from PIL import Image
from small_job import make_small

from factory.export.examples import Example, Exported, open_export
from factory.export.formats import FORMATS
from factory.store import open_store

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the tools


def tool(name: str, package: str) -> Any:
    return pytest.importorskip(name, reason=f"pip install {package}", exc_type=ImportError)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("made")
    changes = {
        "dataset.num_samples": 60,
        "dataset.splits": {"train": 0.8, "val": 0.1, "test": 0.1},
    }
    make_small(folder, changes)
    return open_export(open_store(str(folder / "out")))


@pytest.fixture(scope="module")
def expected(source: Exported) -> dict[str, Example]:
    return {example.key: example for example in source}


def test_hugging_face_datasets_loads_images_masks_and_splits(source, expected, tmp_path):
    datasets = tool("datasets", "datasets")
    FORMATS["hf"].write(source, tmp_path / "hf")
    cache = str(tmp_path / "cache")
    read = datasets.load_dataset(str(tmp_path / "hf"), cache_dir=cache)
    assert set(read) == set(source.splits)
    assert read["train"].features["image"] == datasets.Image()
    count = 0
    for split, rows in read.items():
        for row in rows:
            example = expected[row["key"]]
            assert example.split == split
            assert (np.asarray(row["mask"]) == example.mask).all()
            assert (np.asarray(row["image"].convert("RGB")) == example.sample.image).all()
            count += 1
    assert count == len(expected)


def test_pycocotools_reads_run_lengths_and_polygons(source, expected, tmp_path):
    coco_tool = tool("pycocotools.coco", "pycocotools")
    for name, holes in (("coco-semantic", False), ("coco-polygons", True)):
        FORMATS[name].write(source, tmp_path / name)
        for split in source.splits:
            coco = coco_tool.COCO(str(tmp_path / name / f"annotations/{split}.json"))
            for annotation in coco.loadAnns(coco.getAnnIds()):
                inside = expected[f"{annotation['image_id']:09d}"].mask
                inside = inside == annotation["category_id"] - 1
                read = coco.annToMask(annotation).astype(bool)
                assert not (inside & ~read).any()
                assert holes or (inside == read).all()


def test_yolo_s_own_reader_finds_every_part_from_any_folder(
    source, expected, tmp_path, monkeypatch
):
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    reader = tool("ultralytics.data.dataset", "ultralytics").YOLODataset
    check = tool("ultralytics.data.utils", "ultralytics").check_det_dataset
    FORMATS["yolo"].write(source, tmp_path / "yolo")
    monkeypatch.chdir(tmp_path)
    document = check(str(tmp_path / "yolo/data.yaml"), autodownload=False)
    assert document["names"] == dict(enumerate(source.class_names[1:]))
    found = 0
    for split in source.splits:
        read = reader(img_path=document[split], data=document, task="segment", augment=False)
        for label in read.labels:
            example = expected[Path(label["im_file"]).stem]
            height, width = label["shape"]
            classes = label["cls"][:, 0].astype(int) + 1
            corners = [part * [width, height] for part in label["segments"]]
            regions = [(k, part.tolist()) for k, part in zip(classes, corners, strict=True)]
            assert (painted((height, width), regions) == example.mask).all()
            found += 1
    assert found == len(expected)


def test_dali_reads_the_samples_of_its_index_files_and_no_others(source, expected, tmp_path):
    dali = tool("nvidia.dali", "nvidia-dali-cuda120")
    fn = tool("nvidia.dali.fn", "nvidia-dali-cuda120")
    count = FORMATS["dali"].write(source, tmp_path)
    found = {}
    for split in source.splits:
        paths = [record.path for record in source.manifest.records_of(split)]

        @dali.pipeline_def(batch_size=1, num_threads=1, device_id=None)
        def pipeline(split=split, paths=paths):
            json_and_mask = fn.readers.webdataset(
                paths=[f"{source.store.uri}/{path}" for path in paths],
                index_paths=[str(tmp_path / split / f"{Path(path).stem}.idx") for path in paths],
                ext=["json", "mask.png"],
                missing_component_behavior="error",
                name="reader",
            )
            return tuple(json_and_mask)

        read = pipeline()
        read.build()
        for _ in range(read.epoch_size("reader")):
            facts, mask = (np.asarray(part.as_array()[0]).tobytes() for part in read.run())
            with Image.open(io.BytesIO(mask)) as picture:
                found[json.loads(facts)["key"]] = np.asarray(picture)
    assert len(found) == count == len(expected)
    for key, mask in found.items():
        assert (mask == expected[key].mask).all()


def test_panopticapi_converts_panoptic_masks(source, expected, tmp_path):
    api = tool("panopticapi.utils", "git+https://github.com/cocodataset/panopticapi")
    FORMATS["coco-panoptic"].write(source, tmp_path)
    for split in source.splits:
        document = json.loads((tmp_path / f"annotations/{split}.json").read_text())
        for annotation in document["annotations"]:
            with Image.open(tmp_path / f"panoptic/{split}/{annotation['file_name']}") as picture:
                ids = api.rgb2id(np.asarray(picture))
            mask = expected[f"{annotation['image_id']:09d}"].mask
            for segment in annotation["segments_info"]:
                inside = ids == segment["id"]
                assert inside.sum() == segment["area"]
                assert (mask[inside] == segment["category_id"] - 1).all()


def test_nnunet_accepts_the_labels_and_reads_the_cases(source, expected, tmp_path):
    handling = tool("nnunetv2.utilities.label_handling.label_handling", "nnunetv2")
    reader = tool("nnunetv2.imageio.natural_image_reader_writer", "nnunetv2").NaturalImage2DIO()
    FORMATS["nnunet"].write(source, tmp_path)
    document = json.loads((tmp_path / "dataset.json").read_text())
    labels = handling.LabelManager(document["labels"], None)
    assert labels.foreground_labels == [1, 2, 3]
    assert labels.has_ignore_label == any((e.mask == 255).any() for e in expected.values())
    cases = sorted((tmp_path / "labelsTr").glob("*.png"))
    assert len(cases) == document["numTraining"]
    for path in cases[:10]:
        example = expected[path.stem.rpartition("_")[2]]
        mask, _ = reader.read_seg(str(path))
        ignored = labels.ignore_label
        assert (np.where(example.mask == 255, ignored, example.mask) == mask[0, 0]).all()
        image, _ = reader.read_images([str(tmp_path / f"imagesTr/{path.stem}_0000.png")])
        assert (image[:, 0].transpose(1, 2, 0) == example.sample.image).all()


def test_monai_loads_folders(source, expected, tmp_path):
    monai = tool("monai.transforms", "monai")
    FORMATS["folders"].write(source, tmp_path)
    load = monai.LoadImaged(["image", "mask"], reader="PILReader", image_only=True)
    for path in sorted((tmp_path / "masks").rglob("*.png")):
        example = expected[path.stem]
        image = tmp_path / "images" / path.parent.name / example.name
        read = load({"image": str(image), "mask": str(path)})
        # MONAI's first axis is the width.
        assert (example.mask == np.asarray(read["mask"]).T).all()
        assert (np.asarray(read["image"]).transpose(1, 0, 2) == example.sample.image).all()


def test_label_studio_converts_its_tasks_to_masks(source, expected, tmp_path):
    converter = tool("label_studio_sdk.converter.converter", "label-studio-sdk")
    FORMATS["label-studio"].write(source, tmp_path / "ls")
    tasks = json.loads((tmp_path / "ls/tasks.json").read_text())
    for number, task in enumerate(tasks):  # as a person who accepts every prediction
        task |= {"id": number, "annotations": task.pop("predictions")}
    accepted = tmp_path / "accepted.json"
    accepted.write_text(json.dumps(tasks))
    made = converter.Converter(str(tmp_path / "ls/config.xml"), str(tmp_path / "ls"))
    made.convert_to_coco(str(accepted), str(tmp_path / "coco"), is_dir=False)
    document = json.loads((tmp_path / "coco/result.json").read_text())
    names = {entry["id"]: entry["name"] for entry in document["categories"]}
    assert set(names.values()) <= set(source.class_names[1:])
    found = sum(len(task["annotations"][0]["result"]) for task in tasks)
    assert len(document["annotations"]) == found > len(expected)


def test_datumaro_reads_voc_masks_in_their_colours(source, expected, tmp_path):
    datumaro = tool("datumaro", "datumaro")
    FORMATS["voc"].write(source, tmp_path / "voc")
    read = datumaro.Dataset.import_from(str(tmp_path / "voc"), "voc_segmentation")
    labels = read.categories()[datumaro.AnnotationType.label]
    names = {index: label.name for index, label in enumerate(labels)}
    found = set()
    for item in read:
        example = expected[Path(item.id).name]
        for annotation in item.annotations:
            if annotation.type.name == "mask":
                class_id = source.class_names.index(names[annotation.label])
                assert ((example.mask == class_id) == annotation.image.astype(bool)).all()
                found.add(item.id)
    assert len(found) == len(expected)

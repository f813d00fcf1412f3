"""What reading needs: a process in which everything else cannot be imported reads a dataset."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEEDED = {"numpy", "PIL", "pyarrow", "pydantic", "yaml", "jaxtyping"}
"""The packages that `docs/reading.md` says reading needs; `--no-deps` leaves out all others."""
OF_THOSE = {"annotated_types", "pydantic_core", "typing_extensions", "typing_inspection"}
"""What those packages need in their turn."""
OTHERS = {"ray", "boto3", "botocore", "typer", "rich", "starlette", "uvicorn", "fastapi"}
OTHERS |= {"webdataset", "safetensors", "zlib_ng", "onnxruntime", "monai", "tensorboard"}

BLOCKED = """
import sys


class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, *words):
        return None if refused(name.partition(".")[0]) else self.finder.find_spec(name, *words)


sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
ONLY_NEEDED = """
here = sys.stdlib_module_names | {"factory"} | set(sys.argv[2:])
refused = lambda name: name not in here and not name.startswith("_sysconfigdata")
"""
ALL_BUT = "refused = set(sys.argv[2:]).__contains__\n"
READ = """
import factory
import pyarrow.compute as pc

dataset = factory.open_dataset(sys.argv[1])
assert (len(dataset), [label.name for label in dataset.labels][:1]) == (13, ["cluster_00"])
walked = [sample.key for sample in dataset.samples(shuffle=True, seed=1)]
assert sorted(walked) == [f"{number:09}" for number in range(13)] != walked
for sample in (dataset[7], dataset["000000007"]):
    assert sample.image.shape == (32, 32, 3) and sample.mask.shape == (32, 32)
    assert sample.facts.key == "000000007"
table = dataset.facts(["key", "confidence"], where=pc.field("confidence") >= 0)
assert table.num_rows == 13
assert set(dataset.table(4)) <= {0, 1, 2, 3, 255}
assert "cluster_00" in dataset._repr_html_()
print(len(walked), "read")
"""
LOAD = """
from torch.utils.data import DataLoader

pairs = factory.open_dataset(sys.argv[1]).to_torch(shuffle=True)
for workers in (0, 1):
    batches = list(DataLoader(pairs, batch_size=5, num_workers=workers))
    assert sum(len(batch["mask"]) for batch in batches) == 13
print(batches[0]["image"].shape[1:], "in tensors")
"""


def in_a_process(code: str, dataset: Path, *words: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code, str(dataset), *words]
    paths = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, env=paths, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_reading_imports_nothing_but_what_the_docs_say_it_needs(finished):
    code = BLOCKED + ONLY_NEEDED + READ
    assert in_a_process(code, finished, *NEEDED, *OF_THOSE) == "13 read\n"


@pytest.mark.slow
def test_tensors_need_torch_besides_and_none_of_the_others(finished):
    code = BLOCKED + ALL_BUT + READ + LOAD
    printed = in_a_process(code, finished, *OTHERS)
    assert printed == "13 read\ntorch.Size([3, 32, 32]) in tensors\n"


def test_the_docs_name_the_packages_that_reading_needs():
    page = (ROOT / "factory/docs/reading.md").read_text("utf-8")
    named = {"PIL": "pillow", "yaml": "pyyaml"}
    packages = " ".join(sorted(named.get(name, name) for name in NEEDED))
    assert f"pip install --no-deps maskfactory\npip install {packages}\n" in page


def test_s3_without_its_client_is_one_clear_line(finished):
    code = BLOCKED + ONLY_NEEDED + TRY_S3
    assert in_a_process(code, finished, *NEEDED, *OF_THOSE) == (
        "output.uri: found s3://bucket/cells, but boto3 is not installed here; pip install boto3\n"
    )


TRY_S3 = """
import factory

try:
    factory.open_dataset("s3://bucket/cells")
except factory.StoreError as error:
    print(error)
"""

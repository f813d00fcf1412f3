import shutil

import pytest
import yaml
from small_job import make_small

from factory.care.replay import regenerate_samples
from factory.store import open_store


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    make_small(folder)
    return folder


@pytest.fixture
def made(finished, tmp_path):
    """A folder with a finished dataset of its own in `out`."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path


def test_making_again_tells_of_a_sample_that_differs(made):
    store = open_store(str(made / "out"))
    document = yaml.safe_load((made / "out/job.yaml").read_text())
    document["dataset"]["latents"] = {"seed": 1}
    (made / "out/job.yaml").write_text(yaml.safe_dump(document))
    _, problems = regenerate_samples(store, 2)
    assert problems
    first = problems[0]
    assert (first.path, first.sample) == ("data/train/tiny-000000.tar", "000000000")
    assert first.kind == "different"
    assert first.found.startswith("its image.png comes out different (made on ")

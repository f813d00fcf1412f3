import shutil

import pytest
from small_job import make_small


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small dataset, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    make_small(folder)
    return folder / "out"


@pytest.fixture
def root(finished, tmp_path):
    """A copy of `finished` to damage."""
    shutil.copytree(finished, tmp_path / "out")
    return tmp_path / "out"

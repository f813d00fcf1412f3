from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pictures import tar_of_pictures


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tar_of_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

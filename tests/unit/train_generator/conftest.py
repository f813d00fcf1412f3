from pathlib import Path

import pytest
from pictures import tar_of_pictures


@pytest.fixture(scope="session")
def tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tar_of_pictures(tmp_path_factory.mktemp("pictures"))

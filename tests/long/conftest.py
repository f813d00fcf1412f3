"""A folder for each experiment."""

from pathlib import Path

import pytest
from fault.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)

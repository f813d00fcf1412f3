"""Check every shape in every signature, keep out of the real home, and tell which tests need a GPU.

Hypothesis makes up the same examples every time, so that a change is never blamed for an example
that came up by chance. To look for new ones: `pytest --hypothesis-profile=explore`.
"""

import os
import tempfile

_CACHE = tempfile.TemporaryDirectory(prefix="maskfactory-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name

from jaxtyping import install_import_hook  # noqa: E402 - the cache's place is decided first

if "FACTORY_TEST_ALONE" not in os.environ:  # processes of single tests, which it would start slowly
    install_import_hook(["factory"], "beartype.beartype")

import pytest  # noqa: E402 - nothing may import factory before the hook
import torch  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

# Neither a deadline nor the check for slow examples: both read the clock of a machine that may be busy.
_ANY_SPEED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, **_ANY_SPEED)
settings.register_profile("explore", derandomize=False, **_ANY_SPEED)
settings.load_profile("same")

# As workers do. Threads that wait for each other on a crowded machine make a test take minutes.
torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Hide the GPUs from all tests but those that ask for one, whose bytes would differ."""
    wanted = config.option.markexpr or ""
    if "gpu" not in wanted or "not gpu" in wanted:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device, and `-m gpu`")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


def pytest_unconfigure() -> None:
    _CACHE.cleanup()

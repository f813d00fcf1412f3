import pytest
from small_job import make_small

from factory.export.examples import open_export
from factory.store import open_store


@pytest.fixture(scope="session")
def divided(tmp_path_factory):
    """A dataset with splits, in which some held-out samples repeat training samples."""
    folder = tmp_path_factory.mktemp("exported")
    make_small(
        folder,
        {
            "dataset.num_samples": 60,
            "dataset.samples_per_shard": 3,
            "dataset.generator.kind": "plugins.repeating:Repeating",
            "dataset.splits": {"train": 0.8, "val": 0.1, "test": 0.1},
        },
    )
    return folder / "out"


@pytest.fixture(scope="session")
def source(divided):
    return open_export(open_store(str(divided)))


@pytest.fixture(scope="session")
def expected(source):
    """Every example that is to be exported, by key."""
    return {example.key: example for example in source}

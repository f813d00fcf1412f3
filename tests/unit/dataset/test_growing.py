"""A dataset grows by the job that is stored in it, which is not trusted."""

import pytest
from small_job import make_small

from factory.dataset.growing import job_to_grow
from factory.errors import PluginError, StoreError
from factory.job import run_job
from factory.manifest.paths import JOB_PATH
from factory.spec.yaml_text import dump_yaml, parse_yaml
from factory.store import open_store


@pytest.fixture
def made(tmp_path):
    make_small(tmp_path)
    return tmp_path / "out"


def change_job(root, change):
    document = parse_yaml((root / JOB_PATH).read_text())
    change(document)
    (root / JOB_PATH).write_text(dump_yaml(document))


def test_it_grows_where_it_lies_now(made, tmp_path):
    moved = made.rename(tmp_path / "moved")
    store = open_store(str(moved))
    manifest = run_job(job_to_grow(store, {}), progress=False, add=5, once="d")
    assert manifest.num_samples == 18
    assert not made.exists()


def test_a_stored_job_names_no_place_to_run_at(made):
    change_job(made, lambda job: job["run"].update(address="ray://elsewhere:10001", num_actors=3))
    run = job_to_grow(open_store(str(made)), {}).run
    assert (run.address, run.num_actors, run.executor) == (None, 3, "inline")
    chosen = job_to_grow(open_store(str(made)), {"run.address": "auto"}).run
    assert chosen.address == "auto"


def test_a_stored_job_with_a_program_is_refused_unless_it_is_trusted(made):
    change_job(made, lambda job: job["dataset"]["generator"].update(kind="os:system"))
    store = open_store(str(made))
    with pytest.raises(PluginError, match="names the program 'os:system'"):
        job_to_grow(store, {})
    assert job_to_grow(store, {}, trust_plugins=True).dataset.generator.kind == "os:system"


def test_a_stored_job_reads_no_file_of_this_machine(made, tmp_path):
    """Labels are part of a stored job; a path in their place is none of its business."""
    secret = tmp_path / "secret.yaml"
    secret.write_text("tree: password\n")
    change_job(
        made, lambda job: job["dataset"].update(segmenter={"kind": "klish", "labels": str(secret)})
    )
    with pytest.raises(Exception, match="labels") as raised:
        job_to_grow(open_store(str(made)), {})
    assert "password" not in str(raised.value)


def test_an_empty_folder_holds_nothing_to_grow(tmp_path):
    with pytest.raises(StoreError, match="no dataset here"):
        job_to_grow(open_store(str(tmp_path / "empty")), {})

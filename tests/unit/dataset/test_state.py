import json
import shutil

import pytest
from small_job import make_small

from factory.dataset.state import find_plan, find_rounds
from factory.errors import DamageError, StoreError
from factory.manifest.paths import round_path
from factory.store import open_store


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """A dataset that was made larger, made once; not to be changed."""
    folder = tmp_path_factory.mktemp("larger")
    make_small(folder)
    make_small(folder, {"dataset.num_samples": 17})
    return folder / "out"


@pytest.fixture
def two_rounds(larger, tmp_path):
    """A copy of `larger` to change, and what its two rounds say."""
    folder = shutil.copytree(larger, tmp_path / "out")
    return folder, [json.loads((folder / round_path(index)).read_text()) for index in range(2)]


def test_rounds_that_continue_each_other_are_read(two_rounds):
    folder, told = two_rounds
    rounds = find_rounds(open_store(str(folder)))
    assert [found.first_index for found in rounds] == [0, told[0]["num_samples"]]
    assert find_plan(open_store(str(folder))).rounds == tuple(rounds)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("field", ["round_index", "first_shard", "first_index"])
def test_a_round_that_starts_elsewhere_than_the_one_before_it_ends_is_refused(
    two_rounds, field, number
):
    folder, told = two_rounds
    path = folder / round_path(number)
    path.write_text(json.dumps({**told[number], field: told[number][field] + 1}))
    with pytest.raises(DamageError) as caught:
        find_rounds(open_store(str(folder)))
    assert caught.value.where == f"{open_store(str(folder)).uri}/{round_path(number)}"
    assert caught.value.found.startswith("does not continue the round before it")


@pytest.mark.parametrize("field", ["dataset_id", "name"])
def test_a_round_of_another_dataset_is_refused(two_rounds, field):
    folder, told = two_rounds
    (folder / round_path(1)).write_text(json.dumps({**told[1], field: told[1][field] + "0"}))
    with pytest.raises(DamageError, match=r"round-0001\.json: "):
        find_rounds(open_store(str(folder)))


def test_a_folder_without_a_dataset_has_no_plan(tmp_path):
    with pytest.raises(StoreError, match="no dataset here; make one with `factory run JOB`"):
        find_plan(open_store(str(tmp_path)))

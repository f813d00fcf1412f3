import shutil

import pytest
import yaml
from small_job import make_small

from factory.care.replay import regenerate_samples, replay_sample
from factory.dataset.state import find_state
from factory.errors import DamageError, StoreError
from factory.pack.tar import read_members
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


@pytest.mark.slow
def test_any_sample_of_any_round_can_be_made_again_from_its_key(tmp_path):
    target = {"min_samples": {"green": 9, "cluster_01": {"count": 60, "min_area": 0.1}}}
    settings = {
        "dataset.generator": {"kind": "plugins.batches:Classed"},
        "dataset.coverage": target | {"budget": 900},
    }
    make_small(tmp_path, settings)
    store = open_store(str(tmp_path / "out"))
    state = find_state(store)
    kinds = set()
    for task in state.plan.tasks():
        steering = task.steering
        kinds |= {name for name in ("classes", "min_area") if getattr(steering, name, None)}
        tar = tmp_path / "out" / f"data/train/{task.name}.tar"
        keys = sorted({name[:9] for name, _ in read_members(tar)})
        for key in {keys[0], keys[-1]}:
            again, problems = replay_sample(store, key, trust_plugins=True)
            assert (again.facts.key, problems) == (key, [])
    assert kinds == {"classes", "min_area"}, "rounds of both kinds were looked at"


def test_a_sample_that_comes_out_different_is_told_file_by_file(made):
    store = open_store(str(made / "out"))
    document = yaml.safe_load((made / "out/job.yaml").read_text())
    document["dataset"]["latents"] = {"seed": 1}
    (made / "out/job.yaml").write_text(yaml.safe_dump(document))
    _, problems = replay_sample(store, "000000012")
    assert {problem.kind for problem in problems} == {"different"}
    assert {problem.path for problem in problems} == {"data/train/tiny-000002.tar"}
    assert len(problems) >= 2


@pytest.mark.parametrize("key", ["000000013", "123456789", "12", "twelve"])
def test_a_key_that_no_shard_holds_is_told_with_where_keys_are(made, key):
    with pytest.raises(StoreError) as caught:
        replay_sample(open_store(str(made / "out")), key)
    assert str(caught.value) == (
        f"{made}/out: no committed shard holds sample {key!r}; keys are nine digits, and the tables "
        "in meta/ list them"
    )


def test_what_is_made_again_is_spread_over_all_shards(made):
    store = open_store(str(made / "out"))
    (made / "out/data/train/tiny-000002.tar").unlink()
    with pytest.raises(DamageError, match=r"tiny-000002\.tar: missing"):
        regenerate_samples(store, 5)  # one of them in the last shard, which is short

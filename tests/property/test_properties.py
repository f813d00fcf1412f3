import json
import tempfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from receipts import a_manifest, a_record, encode_manifest
from small_job import small_job

from factory.identity import canonical_json, counter_rng, digest_of, sample_key, shard_name
from factory.manifest.table import read_manifest
from factory.pack.image import decode_image, decode_mask, encode_image, encode_mask
from factory.pack.tar import ShardWriter, read_members
from factory.plan.rounds import make_plan
from factory.spec import EncodeSpec

often = settings(max_examples=60, deadline=None)
NOWHERE = Path("nowhere")

sizes = st.integers(1, 400)
shards = st.integers(1, 60)
factors = st.floats(1, 8)


def grown(steps, samples_per_shard, oversample):
    """The plans of a dataset that grows through `steps`."""
    plans, rounds = [], ()
    for size in steps:
        spec = small_job(
            NOWHERE,
            {
                "dataset.num_samples": size,
                "dataset.samples_per_shard": samples_per_shard,
                "dataset.oversample": oversample,
            },
        )
        plans.append(make_plan(spec, {"a": 1}, rounds))
        rounds = plans[-1].rounds
    return plans


@often
@given(st.lists(sizes, min_size=1, max_size=5).map(sorted), shards, factors)
def test_every_index_belongs_to_exactly_one_shard(steps, samples_per_shard, oversample):
    tasks = grown(steps, samples_per_shard, oversample)[-1].tasks()
    owned = [i for t in tasks for i in range(t.first_index, t.first_index + t.num_indices)]
    assert owned == list(range(len(owned)))
    assert [task.shard_index for task in tasks] == list(range(len(tasks)))
    assert len({task.name for task in tasks}) == len(tasks)


@often
@given(st.lists(sizes, min_size=1, max_size=5).map(sorted), shards, factors)
def test_shards_add_up_to_what_was_asked_for_and_own_enough_indices(steps, per_shard, oversample):
    tasks = grown(steps, per_shard, oversample)[-1].tasks()
    assert sum(task.num_samples for task in tasks) == steps[-1]
    for task in tasks:
        assert 1 <= task.num_samples <= per_shard
        assert task.num_samples <= task.num_indices
        assert task.num_indices < task.num_samples * Fraction(oversample) + 1


@often
@given(st.lists(sizes, min_size=2, max_size=6).map(sorted), shards, factors)
def test_growth_in_any_steps_never_moves_an_earlier_shard(steps, per_shard, oversample):
    plans = grown(steps, per_shard, oversample)
    for before, after in pairwise(plans):
        assert after.tasks()[: len(before.tasks())] == before.tasks()
        assert after.dataset_id == before.dataset_id


@often
@given(sizes, shards, st.sets(st.integers(0, 50)))
def test_what_is_done_and_what_is_left_are_the_whole_plan(size, per_shard, done):
    (plan,) = grown([size], per_shard, 1.0)
    left = plan.without(done)
    finished = [task for task in plan.tasks() if task.shard_index in done]
    both = sorted([*left, *finished], key=lambda task: task.shard_index)
    assert both == plan.tasks()


indices = st.integers(0, 10**9 - 1)


@often
@given(st.lists(indices, unique=True, max_size=20))
def test_keys_are_unique_and_sort_as_their_indices_do(numbers):
    keys = [sample_key(number) for number in numbers]
    assert len(set(keys)) == len(numbers)
    assert [int(key) for key in sorted(keys)] == sorted(numbers)
    assert not any("." in key for key in keys)


@often
@given(st.lists(st.integers(0, 999_999), unique=True, max_size=20))
def test_shard_names_sort_as_their_indices_do(numbers):
    names = sorted(shard_name("a-b_1", number) for number in numbers)
    assert names == [shard_name("a-b_1", number) for number in sorted(numbers)]


seeds = st.integers(0, 2**63 - 1)


@often
@given(seeds, st.integers(0, 2**63 - 2), st.integers(0, 100))
def test_neighbouring_samples_and_lanes_never_share_their_numbers(seed, index, lane):
    def draw(*key):
        return counter_rng("latent", *key).integers(0, 2**63, 2).tolist()

    here = draw(seed, index, lane)
    assert here == draw(seed, index, lane)
    assert here != draw(seed, index + 1, lane)
    assert here != draw(seed, index, lane + 1)


files = st.lists(
    st.tuples(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=100),
        st.binary(max_size=2000),
    ),
    max_size=8,
)


@often
@given(files)
def test_what_is_packed_is_unpacked_in_order(members):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        with ShardWriter(path) as writer:
            writer.add(members)
            packed = writer.finish()
        assert list(read_members(path)) == members
        assert packed.num_members == len(members)
        assert packed.size_bytes == path.stat().st_size


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([0, 1, 6]))
def test_pictures_of_any_size_come_back_whole(height, width, seed, level):
    rng = counter_rng("pixels", seed, 0)
    image = rng.integers(0, 256, (height, width, 3), dtype="uint8")
    assert (decode_image(encode_image(image, EncodeSpec(png_level=level))) == image).all()
    assert (decode_mask(encode_mask(image[..., 0].copy())) == image[..., 0]).all()


@often
@given(st.permutations(range(6)))
def test_records_in_any_order_give_one_manifest(order):
    records = [a_record(index, num_samples=index + 1) for index in range(6)]
    shuffled = encode_manifest(a_manifest([records[index] for index in order]))
    assert shuffled == encode_manifest(a_manifest(records))
    assert read_manifest(shuffled, source="x").records == records


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def reordered(value):
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


@often
@given(json_values)
def test_canonical_json_is_json_and_does_not_know_the_order_of_keys(value):
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(reordered(value)) == text
    assert digest_of(reordered(value)) == digest_of(value)
    assert "\n" not in text

import pytest
from damage import TAR, change_receipt, rewrite
from small_job import make_small

from factory.dataset.finder import SampleFinder
from factory.dataset.shard_cache import ShardCache
from factory.dataset.state import find_state
from factory.dataset.walk import (
    FACTS_FILE,
    IMAGE_FILES,
    MASK_FILE,
    SAMPLE_FILES,
    open_shard,
    record_of,
    walk_shard,
)
from factory.errors import DamageError
from factory.identity import digest_of_file, sample_key
from factory.pack.tar import read_members
from factory.store import open_store

KEY = "000000005"


def members_of(root):
    return {
        name: data
        for path in sorted((root / "data/train").glob("*.tar"))
        for name, data in read_members(path)
    }


def records_of(root):
    return find_state(open_store(str(root))).records


def walk(root, endings=SAMPLE_FILES):
    store = open_store(str(root))
    return [sample for r in records_of(root) for sample in walk_shard(store, r, endings)]


def find(root, key=KEY):
    records = records_of(root)
    record = record_of(records, int(key))
    return SampleFinder(open_store(str(root))).find(record, int(key))


def refusal(action, *arguments):
    with pytest.raises(DamageError) as caught:
        action(*arguments)
    return caught.value


def test_a_walk_gives_every_file_of_every_sample_in_order(finished):
    samples = walk(finished)
    assert [sample.key for sample in samples] == [sample_key(i) for i in range(13)]
    found = {f"{s.key}.{ending}": data for s in samples for ending, data in s.files.items()}
    assert found == members_of(finished)
    assert [samples[0].image_ending, *samples[0].files] == ["png", "image.png", "mask.png", "json"]


def test_only_the_files_that_are_wanted_are_read(finished):
    assert {tuple(sample.files) for sample in walk(finished, (MASK_FILE,))} == {("mask.png",)}
    wanted = (FACTS_FILE, *IMAGE_FILES)
    assert {tuple(s.files) for s in walk(finished, wanted)} == {("image.png", "json")}


def test_any_sample_is_found_without_its_shard(finished):
    for sample in walk(finished):
        assert find(finished, sample.key) == sample


def test_a_shard_s_samples_are_read_in_any_order(finished):
    record = records_of(finished)[1]
    with open_shard(open_store(str(finished)), record) as shard:
        assert len(shard) == 5
        assert [shard.read(i).key[-1] for i in (4, 0, 2, 2)] == ["9", "5", "7", "7"]


def test_the_owner_of_an_index_is_found_and_of_others_none(finished):
    records = records_of(finished)
    owners = [record_of(records, index) for index in range(-1, 14)]
    assert [o.shard_index if o else None for o in owners] == [
        None, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, None,
    ]  # fmt: skip
    assert record_of((records[0], records[2]), 5) is None


def test_samples_are_found_beside_those_that_were_rejected(tmp_path):
    overrides = {"dataset.oversample": 3, "dataset.accept.min_confidence": 0.457}
    overrides |= {"dataset.num_samples": 8, "dataset.samples_per_shard": 4}
    manifest = make_small(tmp_path, overrides)
    root = tmp_path / "out"
    kept = {int(sample.key) for sample in walk(root)}
    assert any(sum(r.num_rejected.values()) for r in manifest.records), "else this shows nothing"
    for record in manifest.records:
        for index in range(record.first_index, record.first_index + record.num_indices):
            assert (find(root, sample_key(index)) is not None) == (index in kept)


def cut(root):
    (root / TAR).write_bytes((root / TAR).read_bytes()[:-512])


def lose(root):
    (root / TAR).unlink()


def lose_a_sample(root):
    rewrite(root, lambda members: members[:-3])


def damage_a_header(root):
    data = bytearray((root / TAR).read_bytes())
    data[data.index(f"{KEY}.mask".encode()) + 20] ^= 1
    (root / TAR).write_bytes(data)
    change_receipt(root, sha256=digest_of_file(root / TAR))


def swap_samples(root):
    rewrite(root, lambda members: [*members[3:6], *members[:3], *members[6:]])


def add_a_stranger(root):
    rewrite(root, lambda members: [*members, ("000000009.exe", b"")])


def add_a_path(root):
    rewrite(root, lambda members: [("../x.json", b""), *members])


def add_another_shard_s(root):
    rewrite(root, lambda members: [*members, ("000000012.json", b"")])


def add_a_twin(root):
    rewrite(root, lambda members: [*members, ("000000009.json", b"")])


@pytest.mark.parametrize(
    ("harm", "kind", "found"),
    [
        (lose, "missing", "missing, though its receipt is there"),
        (cut, "changed", "bytes, its receipt says "),
        (lose_a_sample, "contents", "it holds 4 samples, its receipt says 5"),
        (damage_a_header, "contents", "not a whole tar (a damaged header at byte "),
        (swap_samples, "contents", "sample 000000005 comes after 000000006; keys ascend"),
        (add_a_stranger, "contents", "'000000009.exe' is no name of a sample's file"),
        (add_a_path, "contents", "'../x.json' is no name of a sample's file"),
        (
            add_another_shard_s,
            "contents",
            "sample 000000012 lies outside of the range of its shard",
        ),
        (add_a_twin, "contents", "000000009.json is there twice"),
    ],
)
def test_a_shard_that_is_not_as_its_receipt_says_is_an_error_and_never_a_shorter_dataset(
    root, harm, kind, found
):
    harm(root)
    error = refusal(walk, root)
    assert found in str(error)
    assert str(error).startswith(f"{root}/{TAR}: ")
    assert f"`factory repair {root}` takes " in str(error)
    assert str(error).endswith(" and the next run makes it again")
    assert [problem.kind for problem in error.problems] == [kind]
    assert error.exit_code == 7


@pytest.mark.parametrize("harm", [lose, cut, damage_a_header])
def test_so_is_a_sample_of_it(root, harm):
    harm(root)
    assert str(refusal(find, root)).startswith(f"{root}/{TAR}: ")


def test_a_flipped_bit_is_found_before_the_first_sample_is_given(root):
    data = bytearray((root / TAR).read_bytes())
    data[-20_000] ^= 1
    (root / TAR).write_bytes(data)
    assert len(list(walk_shard(open_store(str(root)), records_of(root)[0]))) == 5
    assert "(sha256 " in str(refusal(next, walk_shard(open_store(str(root)), records_of(root)[1])))


def test_bytes_are_held_against_the_receipt_once_for_a_reader_that_remembers(root):
    store, record = open_store(str(root)), records_of(root)[1]
    compared = ShardCache()
    with open_shard(store, record, compared):
        pass
    data = bytearray((root / TAR).read_bytes())
    data[1000] ^= 1
    (root / TAR).write_bytes(data)
    with open_shard(store, record, compared) as shard:
        assert len(shard) == 5
    assert "(sha256 " in str(refusal(open_shard(store, record, ShardCache()).__enter__))

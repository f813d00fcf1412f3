import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.pack.tar import encode_end, encode_files
from factory.pack.tar_search import TarSearch


def pack(samples):
    """The bytes of a tar with `samples`: files by index."""
    packed = b"".join(encode_files(files) for files in samples.values())
    return packed + encode_end(len(packed))


def a_sample(index, *sizes):
    endings = ("image.png", "mask.png", "json")
    return [
        (f"{index:09d}.{e}", bytes([index % 251]) * n) for e, n in zip(endings, sizes, strict=True)
    ]


class Reads:
    """Reads from bytes, and notes how much."""

    def __init__(self, data):
        self.data = data
        self.sizes = []

    def __call__(self, offset, size_bytes):
        self.sizes.append(size_bytes)
        return self.data[offset : offset + size_bytes]


def search(data, samples, first=0, count=None):
    reads = Reads(data)
    most = count or max(samples, default=first) + 1 - first
    found = TarSearch(
        reads, len(data), first_index=first, num_indices=most, num_samples=len(samples)
    )
    return found, reads


@pytest.mark.slow
@given(
    st.dictionaries(
        st.integers(100, 400),
        st.tuples(st.integers(0, 60_000), st.integers(0, 3_000), st.integers(0, 600)),
        max_size=40,
    )
)
def test_every_sample_is_found_and_for_an_absent_one_the_next(sizes):
    samples = {index: a_sample(index, *sizes[index]) for index in sorted(sizes)}
    data = pack(samples)
    for index in (*samples, 100, 250, 400):
        finder, _ = search(data, samples, first=100, count=301)
        wanted = next((i for i in samples if i >= index), None)
        assert finder.find(index) == (samples[wanted] if wanted is not None else [])


def test_one_search_finds_one_sample_after_the_other():
    samples = {i: a_sample(i, 9_000, 500, 300) for i in range(50)}
    finder, reads = search(pack(samples), samples)
    assert [finder.find(index) for index in samples] == list(samples.values())
    assert len(reads.sizes) < 100


def test_a_sample_of_a_large_tar_is_read_for_a_small_part_of_it():
    samples = {i: a_sample(i, 40_000 + 977 * (i * 7 % 31), 2_000, 300) for i in range(400)}
    data = pack(samples)
    for index in range(0, 400, 37):
        finder, reads = search(data, samples)
        assert finder.find(index) == samples[index]
        assert len(reads.sizes) <= 8
        assert sum(reads.sizes) < len(data) / 20


def test_sizes_that_drift_over_the_tar_cost_a_few_more_guesses():
    samples = {i: a_sample(i, 300 * i, 100, 100) for i in range(300)}
    data = pack(samples)
    worst = 0
    for index in range(0, 300, 13):
        finder, reads = search(data, samples)
        assert finder.find(index) == samples[index]
        worst = max(worst, len(reads.sizes))
    assert worst <= 12


def test_a_file_that_looks_like_a_header_is_not_taken_for_one_without_its_checksum():
    trap = bytes(257) + b"ustar\x00" + bytes(249)
    samples = {i: [(f"{i:09d}.image.png", trap * 100), (f"{i:09d}.json", b"{}")] for i in range(60)}
    for index in (0, 17, 59):
        finder, _ = search(pack(samples), samples)
        assert finder.find(index) == samples[index]


def test_a_tar_cut_inside_the_sample_is_told():
    samples = {i: a_sample(i, 5_000, 500, 300) for i in range(8)}
    data = pack(samples)
    place = data.index(b"000000004.mask.png") + 512 + 100
    finder, _ = search(data[:place], samples)
    with pytest.raises(ValueError, match=r"000000004.mask.png ends after 100 of 500 bytes"):
        finder.find(4)


def test_a_tar_shorter_than_was_said_is_told():
    samples = {i: a_sample(i, 5_000, 500, 300) for i in range(8)}
    data = pack(samples)
    place = data.index(b"000000004.mask.png") + 512 + 100
    finder = TarSearch(Reads(data[:place]), len(data), first_index=0, num_indices=8, num_samples=8)
    with pytest.raises(ValueError, match=rf"ends at byte {place}"):
        finder.find(4)


def test_a_damaged_header_before_the_sample_is_told():
    samples = {i: a_sample(i, 50, 50, 50) for i in range(4)}
    data = bytearray(pack(samples))
    data[data.index(b"000000002.mask.png") + 130] ^= 1
    finder, _ = search(bytes(data), samples)
    with pytest.raises(ValueError, match="a damaged header at byte"):
        finder.find(2)


def test_files_that_belong_to_no_sample_are_told():
    data = pack({0: [("readme.txt", b"x")]})
    finder, _ = search(data, {0: []})
    with pytest.raises(ValueError, match=r"readme\.txt belongs to no sample"):
        finder.find(0)


def test_a_sample_of_endless_files_is_refused_before_all_are_read():
    files = [(f"{3:09d}.x{number}", bytes(100)) for number in range(1000)]
    data = pack({3: files})
    reads = Reads(data)
    search = TarSearch(reads, len(data), first_index=0, num_indices=9, num_samples=1000)
    with pytest.raises(ValueError, match="sample 000000003 has more than 8 files"):
        search.find(3)
    assert sum(reads.sizes) < len(data) / 2

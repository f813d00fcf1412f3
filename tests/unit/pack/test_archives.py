"""Archives of strangers: whole or refused, and nothing in them is larger than what is read of it."""

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile

import pytest
from archives import claim_size, member, sparse_tar, tar_with
from pictures import write_tar

from factory.pack.archives import read_archive

FILES = {"a/1.txt": b"one" * 300, "a/2.txt": b"", "b.bin": bytes(range(256)) * 9}


def contents(path):
    return {found.name: found.read() for found in read_archive(path)}


def refusal(path):
    with pytest.raises(ValueError, match="not a whole tar or zip") as caught:
        contents(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_is_read_whatever_it_is_compressed_with(tmp_path, pack):
    path = write_tar(tmp_path / "a.tar", FILES)
    path.write_bytes(pack(path.read_bytes()))
    assert contents(path) == FILES


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("a")
        for name, data in FILES.items():
            archive.writestr(name, data)
    assert contents(path) == FILES


def test_the_places_in_a_plain_tar_are_those_of_the_bytes(tmp_path):
    path = write_tar(tmp_path / "a.tar", FILES)
    data = path.read_bytes()
    for found in read_archive(path):
        assert data[found.offset : found.offset + found.size_bytes] == FILES[found.name]


def test_a_tar_that_is_cut_anywhere_is_never_a_shorter_one(tmp_path):
    whole = write_tar(tmp_path / "a.tar", FILES).read_bytes()
    end = max(i for i in range(0, len(whole), 512) if any(whole[i : i + 512])) + 512
    for cut in [0, 1, 100, *range(256, end + 1, 256)]:
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:cut])
        assert refusal(path)


def test_a_tar_with_a_damaged_header_is_never_a_shorter_one(tmp_path):
    whole = bytearray(write_tar(tmp_path / "a.tar", FILES).read_bytes())
    second = 512 + 1024
    assert bytes(whole[second : second + 7]) == b"a/2.txt"
    whole[second + 1] ^= 1
    (tmp_path / "bad.tar").write_bytes(whole)
    assert "a header in it is damaged" in refusal(tmp_path / "bad.tar")


@pytest.mark.parametrize(
    ("entry", "oddity"),
    [
        (member("x.png", tarfile.SYMTYPE, "/etc/passwd"), "a link"),
        (member("x.png", tarfile.LNKTYPE, "y.png"), "a link"),
        (member("x.png", tarfile.FIFOTYPE), "a device or a pipe"),
        (member("x.png", tarfile.CHRTYPE), "a device or a pipe"),
    ],
)
def test_what_is_no_file_comes_with_its_oddity(tmp_path, entry, oddity):
    (found,) = read_archive(tar_with(tmp_path / "a.tar", entry))
    assert (found.name, found.oddity) == ("x.png", oddity)


def test_a_sparse_member_is_odd_and_never_unfolded(tmp_path):
    path = sparse_tar(tmp_path / "a.tar", "x.png", 20 * 2**30)
    tracemalloc.start()
    (found,) = read_archive(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert found.oddity == "a sparse file"
    assert found.offset is None


def test_a_member_that_claims_more_than_there_is_costs_nothing(tmp_path):
    whole = write_tar(tmp_path / "a.tar", FILES).read_bytes()
    path = tmp_path / "claims.tar"
    path.write_bytes(claim_size(whole, 2**40))
    found = next(read_archive(path))
    assert "1,099,511,627,776 bytes large" in found.oddity
    assert refusal(path)
    path.write_bytes(claim_size(whole, 2**27))
    assert refusal(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_long_name_is_not_as_long_as_it_claims(tmp_path, kind):
    header = tarfile.TarInfo("x")
    header.type = kind
    path = tmp_path / "a.tar"
    path.write_bytes(claim_size(header.tobuf(tarfile.GNU_FORMAT) + bytes(10240), 2**36))
    tracemalloc.start()
    assert "a name or attribute of 68,719,476,736 bytes" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 2**21
    tracemalloc.stop()


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_a_huge_tar_is_given_up(tmp_path):
    header = member("x.png", size=2**27).tobuf(tarfile.GNU_FORMAT)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(header + bytes(2**27) + bytes(10240)))
    assert "it unpacks to more than 200 times its size; unpack it first" in refusal(path)


def zipped(path, **flags):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", b"x" * 1000)
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    for offset, value in flags.get("patch", {}).items():
        data[central + offset : central + offset + len(value)] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("patch", "oddity"),
    [
        ({8: b"\1\0"}, "encrypted"),
        ({38: (0o120777 << 16).to_bytes(4, "little")}, "a link"),
        ({24: (2**31).to_bytes(4, "little")}, "2,147,483,648 bytes large"),
    ],
)
def test_members_of_a_zip_that_cannot_be_read_say_why(tmp_path, patch, oddity):
    (found,) = read_archive(zipped(tmp_path / "a.zip", patch=patch))
    assert oddity in found.oddity


@pytest.mark.parametrize(
    "patch",
    [
        {10: b"\x63\0"},  # a method of compression that nobody knows
        {16: b"\0\0\0\0"},  # another checksum
        {24: (999).to_bytes(4, "little")},  # another size
        {20: (3).to_bytes(4, "little")},  # fewer bytes
        {42: (7).to_bytes(4, "little")},  # another place
    ],
)
def test_a_zip_that_contradicts_itself_is_not_whole(tmp_path, patch):
    refusal(zipped(tmp_path / "a.zip", patch=patch))


@pytest.mark.slow
def test_a_zip_that_unpacks_to_more_than_it_says_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.png", bytes(2**28 + 2))
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    data[central + 24 : central + 28] = (2**28).to_bytes(4, "little")
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize("data", [b"", b"x" * 600, b"PK\3\4", b"\x1f\x8b\x08", b"BZh9xx"])
def test_other_files_are_neither(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    assert refusal(tmp_path / "a")


def test_a_file_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        list(read_archive(tmp_path / "none"))


def test_folders_are_left_out(tmp_path):
    path = tar_with(tmp_path / "a.tar", member("d", tarfile.DIRTYPE), member("d/x", size=3))
    assert [found.name for found in read_archive(path)] == ["d/x"]
    assert contents(path) == {"d/x": bytes(3)}


def test_a_reader_that_is_left_early_closes_the_file(tmp_path):
    reader = read_archive(write_tar(tmp_path / "a.tar", FILES))
    assert io.BytesIO(next(reader).read()).read() == FILES["a/1.txt"]
    reader.close()

import hashlib
import tarfile

import pytest

from factory.pack.tar import ShardWriter, read_members

FILES = [
    ("000000001.image.png", b"x" * 1000),
    ("000000001.mask.png", b""),
    ("000000001.json", bytes(range(256)) * 2),
    ("000000000.image.png", b"y" * 511),
]


def write(path, files=FILES):
    with ShardWriter(path) as writer:
        writer.add(files)
        return writer.finish()


def test_the_same_files_give_the_same_bytes_at_any_time_and_place(tmp_path):
    (tmp_path / "other").mkdir()
    first, second = write(tmp_path / "a.tar"), write(tmp_path / "other" / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "other" / "b.tar").read_bytes()
    assert first == second


def test_another_order_gives_other_bytes(tmp_path):
    assert write(tmp_path / "a.tar").sha256 != write(tmp_path / "b.tar", FILES[::-1]).sha256


def test_the_digest_taken_on_the_way_is_that_of_the_file(tmp_path):
    packed = write(tmp_path / "a.tar")
    data = (tmp_path / "a.tar").read_bytes()
    assert packed.sha256 == hashlib.sha256(data).hexdigest()
    assert packed.size_bytes == len(data)
    assert packed.num_members == 4


def test_the_standard_library_reads_every_member_in_order(tmp_path):
    write(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert [(m.name, tar.extractfile(m).read()) for m in tar] == FILES


def test_headers_hold_no_time_no_person_and_the_plain_format(tmp_path):
    write(tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
            assert (member.uname, member.gname, member.mode) == ("factory", "factory", 0o644)
            assert member.isreg()
            assert member.pax_headers == {}
    assert (tmp_path / "a.tar").read_bytes()[257:265] == b"ustar\x0000"


def test_a_tar_ends_with_two_empty_blocks_and_fills_its_record(tmp_path):
    packed = write(tmp_path / "a.tar")
    assert packed.size_bytes % 10_240 == 0
    assert (tmp_path / "a.tar").read_bytes().endswith(bytes(1024))


def test_a_tar_without_files_is_a_tar(tmp_path):
    assert write(tmp_path / "a.tar", []).num_members == 0
    assert list(read_members(tmp_path / "a.tar")) == []


def test_a_tar_that_was_not_finished_leaves_no_file(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as writer:
        writer.add([("a", b"x" * 100_000)])
        assert (tmp_path / "a.tar").exists()
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_the_way_leaves_no_file_and_passes(tmp_path):
    def fail():
        with ShardWriter(tmp_path / "a.tar") as writer:
            writer.add([("a", b"x")])
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_tar_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == b"mine"


def test_a_name_too_long_for_the_format_is_refused(tmp_path):
    at_most = "at most 100 characters"
    with ShardWriter(tmp_path / "a.tar") as writer, pytest.raises(ValueError, match=at_most):
        writer.add([("n" * 101, b"")])
    assert write(tmp_path / "b.tar", [("n" * 100, b"")]).num_members == 1


def test_files_added_together_or_one_by_one_give_the_same_bytes(tmp_path):
    with ShardWriter(tmp_path / "a.tar") as writer:
        for file in FILES:
            writer.add([file])
        assert writer.finish() == write(tmp_path / "b.tar")


@pytest.mark.parametrize("size", [0, 1, 511, 512, 8**7])
@pytest.mark.parametrize("name", ["a", "000000001.image.png", "n" * 100])
def test_a_header_is_byte_for_byte_the_standard_library_s(tmp_path, name, size):
    write(tmp_path / "a.tar", [(name, bytes(size))])
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    member.uname = member.gname = "factory"
    with (tmp_path / "a.tar").open("rb") as file:
        assert file.read(512) == member.tobuf(tarfile.USTAR_FORMAT)


def test_members_read_back_are_those_that_were_added(tmp_path):
    write(tmp_path / "a.tar")
    assert list(read_members(tmp_path / "a.tar")) == FILES


@pytest.mark.parametrize("keep", [0.05, 0.3, 0.6])
def test_a_tar_cut_inside_a_member_is_refused(tmp_path, keep):
    write(tmp_path / "a.tar", [("a", b"x" * 40_000)])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ValueError, match=r"not a whole tar|ends after"):
        list(read_members(tmp_path / "a.tar"))


@pytest.mark.parametrize("data", [b"", b"no tar at all" * 100])
def test_what_is_no_tar_is_refused(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ValueError, match="not a whole tar"):
        list(read_members(tmp_path / "a.tar"))


def test_a_damaged_first_header_is_refused(tmp_path):
    write(tmp_path / "a.tar")
    data = bytearray((tmp_path / "a.tar").read_bytes())
    data[3] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ValueError, match="not a whole tar"):
        list(read_members(tmp_path / "a.tar"))


@pytest.mark.parametrize("place", [1536, 1536 + 124, 1536 + 257])
def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path, place):
    write(tmp_path / "a.tar")
    data = bytearray((tmp_path / "a.tar").read_bytes())
    assert data[1536:].startswith(b"000000001.mask.png")
    data[place] ^= 1
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"not a whole tar \(a damaged header at byte 1536\)"):
        list(read_members(tmp_path / "a.tar"))


def test_links_and_extensions_of_tar_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        link = tarfile.TarInfo("000000001.image.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(ValueError, match="is not an ordinary file"):
        list(read_members(tmp_path / "a.tar"))


def test_a_name_in_two_parts_is_refused_and_not_read_by_its_second_part(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(f"{'folder/' * 20}000000001.json"))
    assert (tmp_path / "a.tar").read_bytes()[345:351] == b"folder"
    with pytest.raises(ValueError, match="is not an ordinary file"):
        list(read_members(tmp_path / "a.tar"))


def test_a_file_of_gigabytes_of_holes_is_refused_by_its_header(tmp_path):
    path = tmp_path / "x.tar"
    member = tarfile.TarInfo("000000000.image.png")
    member.size = 3 * 2**30
    with path.open("wb") as file:
        file.write(member.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(member.size + 10 * 2**10)
    with pytest.raises(ValueError, match=r"3,221,225,472 bytes; at most 134,217,728 are read"):
        list(read_members(path))

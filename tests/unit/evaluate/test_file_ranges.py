import pytest

from factory.evaluate.file_ranges import FileRange, is_hidden, whole_file


def test_a_range_reads_its_bytes_alone_and_a_whole_file_all_of_them(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"0123456789")
    assert FileRange(file, 2, 3).read() == b"234"
    assert whole_file(file).read() == b"0123456789"


def test_more_bytes_than_any_picture_has_are_not_read(tmp_path):
    with pytest.raises(ValueError, match="bytes large; at most"):
        FileRange(tmp_path / "a", 0, 2**40).read()


def test_what_begins_with_a_dot_is_hidden_wherever_it_lies():
    assert is_hidden("a/.b/c.png")
    assert is_hidden("._a.png")
    assert not is_hidden("./a/b.png")

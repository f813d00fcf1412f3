import pytest

from factory.pack.named_pictures import encode_pictures, read_pictures

FILES = [b"one", b"two"]


def read(path, data, **limits):
    path.write_bytes(data)
    settings = {"most": 5, "check": lambda _: None} | limits
    return read_pictures(path, "x.json", **settings)


def test_names_and_files_are_read_back_and_names_shortened(tmp_path):
    names, files = read(tmp_path / "x", encode_pictures("x.json", ["a", "b" * 99], FILES))
    assert (names, files) == (("a", "b" * 64), (b"one", b"two"))


def test_what_is_too_much_or_refused_is_an_error(tmp_path):
    data = encode_pictures("x.json", ["a", "b"], FILES)
    with pytest.raises(ValueError, match="more than 1 of them"):
        read(tmp_path / "x", data, most=1)

    def refuse(file):
        raise ValueError(f"refused {file.decode()}")

    with pytest.raises(ValueError, match="refused one"):
        read(tmp_path / "x", data, check=refuse)
    with pytest.raises(ValueError, match="does not name"):
        read(tmp_path / "x", encode_pictures("y.json", ["a"], FILES[:1]))

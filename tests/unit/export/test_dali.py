import pytest

from factory.export.dali import export_dali

pytestmark = pytest.mark.slow


def test_every_line_finds_its_files_in_the_tar(divided, source, expected, tmp_path):
    """A line is `ending offset size name` for each file: DALI's format v1.2."""
    assert export_dali(source, tmp_path) == len(expected)
    seen = []
    for index in sorted(tmp_path.rglob("*.idx")):
        tar = (divided / "data" / index.relative_to(tmp_path).with_suffix(".tar")).read_bytes()
        head, *lines = index.read_text().splitlines()
        assert head == f"v1.2 {len(lines)}"
        for line in lines:
            words = line.split()
            files = {
                words[at]: (int(words[at + 1]), int(words[at + 2]), words[at + 3])
                for at in range(0, len(words), 4)
            }
            assert list(files) == ["image.png", "mask.png", "json"]
            for ending, (offset, size, name) in files.items():
                header = tar[offset - 512 : offset]
                assert header[:100].rstrip(b"\0").decode() == name
                assert int(header[124:135], 8) == size
                assert name.endswith(f".{ending}")
            offset, size, name = files["image.png"]
            key = name[:9]
            assert tar[offset : offset + size] == expected[key].image
            seen.append(key)
    assert sorted(seen) == sorted(expected)

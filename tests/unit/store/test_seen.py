from factory.store.seen import find_place, note_place

SHA = "a" * 64


def test_a_file_is_found_where_it_was_seen_last(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert find_place(SHA) is None
    first, second = tmp_path / "first.pt", tmp_path / "second"
    first.write_bytes(b"x")
    note_place(SHA, first)
    assert find_place(SHA) == first
    second.mkdir()
    monkeypatch.chdir(tmp_path)
    note_place(SHA, second.relative_to(tmp_path))
    assert find_place(SHA) == second
    second.rmdir()
    assert find_place(SHA) is None


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    note_place(SHA, tmp_path)
    assert find_place(SHA) is None
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]

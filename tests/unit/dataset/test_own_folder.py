import pytest

from factory.dataset.own_folder import check_outside, enclosing_dataset
from factory.errors import JobError


@pytest.fixture
def root(tmp_path):
    (tmp_path / "out/plan").mkdir(parents=True)
    (tmp_path / "out/plan/round-0000.json").write_text("{}")
    return tmp_path / "out"


def told(path):
    with pytest.raises(JobError) as caught:
        check_outside(path, "-o")
    return str(caught.value)


def test_a_dataset_s_folder_and_all_below_it_are_its_own(root, monkeypatch):
    assert told(root) == f"-o: {root} holds a dataset; choose a path outside of it"
    for name in ("new", "data", "data/train/new", "plan/round-0000.json/x", "a/../b"):
        assert told(root / name).startswith(f"-o: {root / name} lies in a dataset; choose a path")
    monkeypatch.chdir(root)
    assert "lies in a dataset" in told(root.relative_to(root) / "x")


def test_no_link_leads_around_it(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    (tmp_path / "loop").symlink_to("loop")
    assert enclosing_dataset(tmp_path / "link/new") == root
    assert "holds a dataset" in told(tmp_path / "link")
    check_outside(tmp_path / "loop/new", "-o")


def test_what_lies_beside_a_dataset_or_around_it_is_free(root):
    for path in (root.parent, root.parent / "new", root.parent / "out2", root / "../new"):
        check_outside(path, "-o")

"""An attempt that cannot succeed stops the next one."""

import pytest
from small_job import Witness, small_job

from factory.errors import DamageError, JobError, StoreError
from factory.job import run_job
from factory.manifest.paths import receipt_path, step_note_path, tar_path

WRONG = {"dataset.accept": {"class_share": {"nucleus": [0, 1]}}}  # the toy has no such class


def attempt(folder, overrides=None, key="night"):
    return run_job(small_job(folder, overrides), Witness(), add=5, once=key)


def test_an_error_in_the_job_is_kept_and_the_next_attempt_stops_at_it(tmp_path):
    with pytest.raises(JobError) as first:
        attempt(tmp_path, WRONG)
    with pytest.raises(
        JobError, match="the last attempt at this step ended with exit code 2"
    ) as again:
        attempt(tmp_path, WRONG)
    assert str(first.value)[:40] in str(again.value)
    assert again.value.exit_code == 2


def test_a_changed_job_another_step_or_a_removed_note_is_tried(tmp_path):
    for key in ("night", "other"):
        with pytest.raises(JobError, match="nucleus") as raised:
            attempt(tmp_path, WRONG, key)
        assert "last attempt" not in str(raised.value)
    (tmp_path / "out" / step_note_path("other")).unlink()
    with pytest.raises(JobError, match="nucleus") as raised:
        attempt(tmp_path, WRONG, "other")
    assert "last attempt" not in str(raised.value)
    assert attempt(tmp_path).num_samples == 5


def test_damage_is_kept_too(tmp_path):
    attempt(tmp_path)
    tar = next((tmp_path / "out").glob("data/train/*.tar"))
    tar.write_bytes(tar.read_bytes()[:100])
    with pytest.raises(DamageError):
        attempt(tmp_path)
    with pytest.raises(DamageError, match="ended with exit code 7"):
        attempt(tmp_path)
    assert tar_path("tiny-000000").endswith(tar.name)


def test_what_may_pass_leaves_no_note(tmp_path):
    attempt(tmp_path)
    with pytest.raises(StoreError, match="another dataset"):
        attempt(tmp_path, {"dataset.batch_size": 4}, key="other")
    assert not (tmp_path / "out" / step_note_path("other")).exists()


def test_without_a_key_there_is_no_note(tmp_path):
    for _ in range(2):
        with pytest.raises(JobError, match="nucleus") as raised:
            run_job(small_job(tmp_path, WRONG), Witness(), add=5)
        assert "last attempt" not in str(raised.value)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"exit_code": 99}', b"\xff"])
def test_a_damaged_note_is_none(tmp_path, text):
    attempt(tmp_path)
    path = tmp_path / "out" / step_note_path("night")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    assert attempt(tmp_path).num_samples == 5
    assert (tmp_path / "out" / receipt_path(0, 0)).exists()

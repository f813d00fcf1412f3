import pytest
import torch
import yaml
from small_job import make_small, small_document
from typer.testing import CliRunner

from factory.cli.app import app
from factory.segment.clean import make_cleaner
from factory.segment.clean_losses import describe_losses
from factory.segment.palette import unnamed_labels
from factory.spec.clean import CleanSpec

NAMES = ("ground", "body", "core")


def losses(before, after):
    cleaner = make_cleaner(CleanSpec(keep="largest"), unnamed_labels(3))
    return describe_losses(cleaner, NAMES, torch.tensor(before), torch.tensor(after))


def test_a_class_that_is_gone_from_most_of_its_images_is_told():
    before = [[50, 40, 10], [60, 40, 0], [50, 30, 20], [50, 30, 20]]
    after = [[60, 40, 0], [60, 40, 0], [70, 30, 0], [50, 30, 20]]
    assert losses(before, after) == [
        "`clean` leaves nothing of core in 2 of the first 3 images with it: look at some with `factory "
        "preview`, and choose other steps if they lose what should stay"
    ]


def test_half_of_the_images_or_of_the_pixels_are_no_loss():
    before = [[50, 40, 10], [50, 30, 20]]
    assert losses(before, [[60, 40, 0], [50, 30, 20]]) == []
    specks = [[50, 49, 1], [50, 49, 1], [50, 10, 40]]
    assert losses(specks, [[51, 49, 0], [51, 49, 0], [50, 10, 40]]) == [], "specks are to go"


def test_images_without_any_object_left_are_told_once_and_not_for_each_class():
    before, after = [[50, 40, 10]] * 3, [[100, 0, 0]] * 2 + [[50, 40, 10]]
    found = losses(before, after)
    assert len(found) == 1
    assert found[0].startswith(
        "`clean` leaves no object at all in 2 of the first 3 images with one: "
    )


def test_ground_that_is_filled_everywhere_is_told_too():
    assert losses([[10, 90, 0]] * 2, [[0, 100, 0]] * 2)[0].startswith(
        "`clean` leaves nothing of ground"
    )


def test_images_without_objects_lose_none():
    assert losses([[100, 0, 0]] * 4, [[100, 0, 0]] * 4) == []


@pytest.mark.slow
def test_run_card_and_plan_tell_a_clean_up_that_takes_everything_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    changes = {"dataset.segmenter.clean": {"min_area": 100_000}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(small_document(tmp_path, changes)))
    made = CliRunner().invoke(app, ["run", "job.yaml"])
    assert made.exit_code == 0, made.output
    told = "`clean` leaves no object at all in 16 of the first 16 images with one: lower `min_area`"
    assert made.stderr.splitlines()[-1].startswith(f"warning: {told}")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "leaves no object at all in 16 of the first 16 images with one" in card
    planned = CliRunner().invoke(app, ["plan", "job.yaml"])
    assert told in planned.output
    again = make_small(tmp_path, changes)
    assert again.meaning.doubts == [made.stderr.splitlines()[-1].removeprefix("warning: ")]

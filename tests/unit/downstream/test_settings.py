import pytest

from factory.downstream.settings import NetworkSettings
from factory.errors import JobError
from factory.spec.check import check_settings


@pytest.mark.parametrize(
    ("setting", "value"),
    [("steps", 0), ("size", "XL"), ("learning_rate", 0.0), ("class_weights", "some"), ("stp", 1)],
)
def test_settings_that_are_none_are_told_by_name(setting, value):
    with pytest.raises(JobError, match=setting):
        check_settings(NetworkSettings, {setting: value}, source="train")

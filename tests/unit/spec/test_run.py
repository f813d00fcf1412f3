"""Settings of a run."""

import pytest
from small_job import small_job

from factory.errors import JobError


@pytest.mark.parametrize("name", ["CPU", "GPU", "memory", "gpu", ""])
def test_what_ray_counts_itself_is_no_custom_resource(tmp_path, name):
    with pytest.raises(JobError, match=r"run\.resources: .*is no custom resource"):
        small_job(tmp_path, {"run.resources": {name: 1}})


@pytest.mark.parametrize("amount", [0, -1, float("inf")])
def test_a_custom_resource_is_a_positive_number(tmp_path, amount):
    with pytest.raises(JobError, match=r"run\.resources\.a100"):
        small_job(tmp_path, {"run.resources": {"a100": amount}})


def test_max_actors_goes_with_auto_alone(tmp_path):
    assert small_job(tmp_path, {"run.max_actors": 4}).run.max_actors == 4
    with pytest.raises(JobError, match="`max_actors` goes with `num_actors: auto`"):
        small_job(tmp_path, {"run.max_actors": 4, "run.num_actors": 2})


@pytest.mark.parametrize("setting", ["run.notify", "run.push_metrics"])
@pytest.mark.parametrize(
    "value",
    [
        *("", "hook", "ftp://x/y", "env:", "env:A B", "https://", "file:///x"),
        *(
            "http://[::1/x",
            "http://h:x/",
            "http://h:99999/",
            "http://:80/",
            "https://anna:hunter2@h/x",
        ),
    ],
)
def test_an_address_is_of_the_web_or_in_the_environment(tmp_path, setting, value):
    with pytest.raises(JobError, match=f"{setting}: .*http:// or https://, or env:NAME") as raised:
        small_job(tmp_path, {setting: value})
    assert "hunter2" not in str(raised.value)
    for good in ("http://h", "https://h:1/p?q=1", "env:HOOK_URL"):
        small_job(tmp_path, {setting: good})

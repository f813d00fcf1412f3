import pytest
from small_job import small_job

from factory.errors import JobError


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"layers": "s8"}, "layers: input should be 'auto' or a valid list (got 's8')"),
        (
            {"cut": 1},
            "cut: input should be greater than or equal to 2, 'auto' or a valid list (got 1)",
        ),
        ({"cut": 2.5}, "cut: input should be a valid integer, 'auto' or a valid list (got 2.5)"),
        ({"layers": [1]}, "layers.0: input should be a valid string; quote it (got 1)"),
        (
            {"clean": {"keep": "all", "classes": [1.5]}},
            "clean.classes: found `1.5`; a class is an integer or a name: quote it (got [1.5])",
        ),
    ],
)
def test_a_value_that_fits_no_member_of_a_union_is_one_problem(tmp_path, section, told):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": {"kind": "klish", **section}})
    assert str(caught.value).splitlines()[1:] == [f"  dataset.segmenter.{told}"]


def test_two_values_that_fit_no_member_are_two_problems(tmp_path):
    with pytest.raises(JobError) as caught:
        small_job(tmp_path, {"dataset.segmenter": {"kind": "klish", "cut": 1, "layers": 3}})
    assert len(caught.value.problems) == 2

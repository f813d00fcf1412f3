"""Targets steer one dataset, whoever makes it and however often the driver dies: about two minutes.

python -m pytest tests/long/test_targets.py
"""

from fault.lab import Lab
from fault.targets import cells, kill_after, rounds


def test_inline_ray_and_a_driver_that_is_killed_twice_plan_and_make_the_same(lab: Lab) -> None:
    lab.must_run("run", str(cells(lab, "once")))
    lab.must_run("run", str(cells(lab, "ray", executor="ray", num_actors=2)))
    job = cells(lab, "killed")
    for num_receipts in (1, 4):  # in the first round, and in one that was planned for a target
        kill_after(lab, job, "killed", num_receipts)
    assert len(lab.digests("killed")) < len(lab.digests("once"))
    lab.must_run("run", str(job))
    for output in ("ray", "killed"):
        assert lab.digests(output) == lab.digests("once")
        assert rounds(lab, output) == rounds(lab, "once")
    before = lab.digests("once")
    lab.must_run("run", str(cells(lab, "once")))
    assert lab.digests("once") == before, "a job whose targets are met has nothing to do"
    assert "all good" in lab.must_run("verify", str(lab.folder / "once"), "--regenerate", "5")

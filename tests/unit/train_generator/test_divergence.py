import math
from pathlib import Path

import pytest
import torch

from factory.errors import JobError
from factory.train_generator.divergence import RecentLosses, check_finite

FOLDER = Path("trained")


def losses(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_on_a_cpu_each_step_is_looked_at_and_the_last_one_is_told():
    recent = RecentLosses(FOLDER, torch.device("cpu"))
    recent.add(8, losses(discriminator=1.5, r1=0.25))
    recent.add(16, losses(discriminator=2.0, generator=0.5))
    assert recent.check() == {"discriminator": 2.0, "generator": 0.5}
    with pytest.raises(JobError, match="loss of the generator is nan after 24 pictures"):
        recent.add(24, losses(discriminator=2.0, generator=math.nan))


def test_on_a_gpu_fifty_steps_are_looked_at_together_and_the_first_that_diverged_is_told():
    recent = RecentLosses(FOLDER, torch.device("cuda"))
    for step in range(1, 50):
        recent.add(8 * step, losses(generator=math.inf if step in {20, 30} else 1.0))
    with pytest.raises(JobError, match="loss of the generator is inf after 160 pictures"):
        recent.add(400, losses(generator=1.0))
    assert recent.check() is not None, "what was told is told once"


def test_on_a_gpu_they_are_looked_at_before_anything_is_written():
    recent = RecentLosses(FOLDER, torch.device("cuda"))
    recent.add(8, losses(generator=math.nan))
    with pytest.raises(JobError, match="it goes on from what trained holds"):
        recent.check()


def test_scores_must_be_finite_too():
    check_finite({"kid": 0.5}, 8, FOLDER, "score ")
    with pytest.raises(JobError, match="schedule: the score kid is nan after 8 pictures"):
        check_finite({"kid": math.nan}, 8, FOLDER, "score ")

import math

import torch

from factory.train_generator.optimiser import Adam


def gradients(step):
    rng = torch.Generator().manual_seed(step)
    return {"a": torch.randn(3, 2, generator=rng), "b": torch.randn(4, generator=rng)}


def test_it_takes_the_steps_of_torch_s_adam_without_a_first_moment():
    ours = {name: torch.ones_like(tensor) for name, tensor in gradients(0).items()}
    theirs = {name: tensor.clone().requires_grad_() for name, tensor in ours.items()}
    reference = torch.optim.Adam(theirs.values(), lr=0.1, betas=(0.0, 0.99), eps=1e-8)
    adam = Adam()
    for step in range(5):
        adam.step(ours, gradients(step), 0.1)
        for name, gradient in gradients(step).items():
            theirs[name].grad = gradient
        reference.step()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor.detach())


def test_a_parameter_that_comes_later_starts_with_a_step_of_its_own():
    alone, late = {"b": torch.zeros(1)}, {"a": torch.zeros(1), "b": torch.zeros(1)}
    adam = Adam()
    for _ in range(100):
        adam.step(late, {"a": torch.ones(1)}, 0.1)
    adam.step(late, {"b": torch.ones(1)}, 0.1)
    Adam().step(alone, {"b": torch.ones(1)}, 0.1)
    torch.testing.assert_close(late["b"], alone["b"])
    assert adam.steps == {"a": 100, "b": 1}


def test_what_is_forgotten_starts_anew():
    adam, tensors = Adam(), {"a": torch.zeros(1), "b": torch.zeros(1)}
    adam.step(tensors, {"a": torch.ones(1), "b": torch.ones(1)}, 0.1)
    adam.forget({"a"})
    assert set(adam.moments) == set(adam.steps) == {"b"}


def test_gradients_that_are_no_numbers_move_nothing_far():
    adam, tensors = Adam(), {"a": torch.zeros(3)}
    adam.step(tensors, {"a": torch.tensor([math.nan, math.inf, -math.inf])}, 0.1)
    torch.testing.assert_close(tensors["a"], torch.tensor([0.0, -0.1, 0.1]))

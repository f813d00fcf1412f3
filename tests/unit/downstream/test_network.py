import torch

from factory.downstream.network import make_network


def test_sizes_have_the_weights_that_they_are_named_for_and_any_side_will_do():
    small, middle = make_network(3, "S"), make_network(3, "M")
    count = [sum(p.numel() for p in net.parameters()) for net in (small, middle)]
    assert 1e6 < count[0] < 2e6
    assert 1e7 < count[1] < 2e7
    for side in ((32, 32), (40, 56)):
        assert small(torch.zeros(1, 3, *side)).shape == (1, 3, *side)

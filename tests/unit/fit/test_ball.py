import pytest
import torch
from fit_context import context_of

from factory.fit.pixels.ball import Ball, find_ball
from factory.fit.pixels.pool import added


def heavy(count=4000, channels=6, seed=0):
    """Directions of all kinds, with distances that have a tail."""
    torch.manual_seed(seed)
    away = torch.randn(count, channels)
    return away * torch.distributions.StudentT(2.0).sample((count, 1)).abs() + 3


def test_three_quarters_of_the_pixels_lie_inside():
    vectors = heavy()
    ball = find_ball(vectors)
    lengths = (vectors - ball.centre).norm(dim=1)
    assert (lengths <= ball.radius).float().mean() == pytest.approx(0.75, abs=1e-3)
    assert torch.allclose(ball.centre, vectors.mean(dim=0), atol=1e-4)


def test_pixels_beyond_are_moved_along_their_ray_and_others_are_not_moved():
    vectors = heavy()
    before = vectors.clone()
    ball = find_ball(vectors)
    clipped = ball.clip(vectors)
    assert torch.equal(vectors, before)
    away, then = vectors - ball.centre, clipped - ball.centre
    is_far = away.norm(dim=1) > ball.radius
    assert torch.allclose(clipped[~is_far], vectors[~is_far], atol=1e-5)
    assert torch.allclose(then[is_far].norm(dim=1), torch.tensor(ball.radius), rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(away, then, dim=1)
    assert (cosine > 0.9999).all()


def test_equal_pixels_have_no_tail_to_clip():
    vectors = torch.ones(100, 3)
    vectors[0] = 50
    assert find_ball(torch.ones(100, 3)).radius == float("inf")
    assert torch.equal(find_ball(torch.ones(100, 3)).clip(vectors), vectors)
    assert find_ball(torch.ones(100, 3)).clip(torch.ones(2, 3)).isfinite().all()


def test_a_checkpoint_keeps_every_bit_of_it():
    ball = find_ball(heavy())
    again = Ball.of_tensor(ball.tensor())
    assert torch.equal(again.centre, ball.centre)
    assert again.radius == ball.radius


def _flat(answers):
    tensors = [t for answer in answers for t in (answer if isinstance(answer, tuple) else [answer])]
    return torch.cat([tensor.flatten().double() for tensor in tensors])


def test_clusters_see_clipped_pixels_and_planes_see_them_as_they_are(tmp_path):
    vectors = heavy()
    ball, centres, planes = find_ball(vectors), heavy(5, seed=1), torch.randn(5, 7)
    raw, clipped = (context_of(tmp_path, rows).pool for rows in (vectors, ball.clip(vectors)))
    pool = context_of(tmp_path, vectors).pool
    pool.update("clip", ball)
    for method, args in (("lloyd", (centres,)), ("assign", (centres,)), ("spread", (8,))):
        found, wanted, other = (_flat(p.update(method, *args)) for p in (pool, clipped, raw))
        assert torch.allclose(found, wanted)
        assert not torch.allclose(found, other)
    raw.update("assign", centres)
    pool.update("assign", ball.clip(centres))
    for part, same in zip(pool.parts, raw.parts, strict=True):
        part._owners = same._owners
    columns = torch.arange(5)
    for ours, theirs in zip(
        added(pool.query("hinge", columns, planes)),
        added(raw.query("hinge", columns, planes)),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    assert torch.equal(added(pool.update("hold", planes))[2], added(raw.update("hold", planes))[2])


def test_sampling_anew_forgets_the_ball(tmp_path):
    pool = context_of(tmp_path, heavy()).pool
    part = pool.parts[0]
    rows = part._vectors
    part.clip(find_ball(rows))
    assert not torch.equal(part.spread(1000), rows)
    part.use(rows)
    assert torch.equal(part.spread(1000), rows)


def test_a_part_knows_which_cluster_is_in_which_image(tmp_path):
    part = context_of(tmp_path, heavy(160)).pool.parts[0]
    part.use(torch.zeros(12, 2), pixels_per_image=4)
    part._owners = torch.tensor([0, 0, 0, 0, 0, 2, 0, 2, 1, 1, 1, 1], dtype=torch.uint8)
    assert part.images_of(4).tolist() == [
        [True, True, False],
        [False, False, True],
        [False, True, False],
        [False, False, False],
    ]

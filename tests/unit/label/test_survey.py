import threading

import numpy as np
import pytest
import torch
from small_label import small_material

from factory.label.survey import Survey
from factory.segment.tree.mixture import parts_of


@pytest.fixture(scope="module")
def survey():
    survey = Survey(small_material().renderer, 24)
    survey.fill()
    return survey


def tree():
    return small_material().tree


def nodes_of(count):
    return [[node] for node in tree().by_size(tree().flat_cut(count))]


def test_shares_pictures_and_places_are_those_of_the_masks(survey):
    cut = nodes_of(4)
    found = survey.measure(cut)
    masks = small_material().gallery.masks([node for (node,) in cut])
    picks = (np.arange(32) * 2 + 1) * masks.shape[1] // 64
    coarse = masks[:, picks][..., picks]
    few = Survey(small_material().renderer, 20)
    few.fill()
    for position, (mine, more) in enumerate(zip(few.measure(cut), found, strict=True)):
        assert mine.share == pytest.approx((coarse == position).mean(), abs=1e-6)
        assert mine.images == (coarse == position).any(axis=(1, 2)).mean()
        assert np.allclose(mine.place.numpy(), (coarse == position).mean(axis=0))
        assert more.share == pytest.approx(float(more.place.mean()), abs=1e-6)
    assert sum(one.share for one in found) == pytest.approx(1)


def test_a_class_of_several_nodes_has_the_pixels_of_all(survey):
    single = survey.measure(nodes_of(5))
    first, second, *others = nodes_of(5)
    joined = survey.measure([first + second, *others])
    assert joined[0].share == pytest.approx(single[0].share + single[1].share, abs=1e-6)
    assert {part.under for part in joined[0].parts} == {*first, *second}


def test_typical_pictures_are_clearer_than_doubtful_ones_and_none_is_both(survey):
    cut = nodes_of(3)
    scores = survey._scores[[node for (node,) in cut], : survey.num_ready]
    for position, one in enumerate(survey.measure(cut)):
        best = scores.topk(2, dim=0)
        inside = best.indices[0] == position
        lead = ((best.values[0] - best.values[1]) * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2))
        assert one.typical
        assert not set(one.typical) & set(one.doubtful)
        if one.doubtful:
            assert lead[one.typical].min() > lead[one.doubtful].max()


def test_a_part_s_pixels_would_go_where_its_plane_is_missed_least(survey):
    """Without the part, the rest of all parts are cut anew: that is where its pixels go."""
    cut = nodes_of(4)
    found = survey.measure(cut)
    fine = [(part, at) for at, nodes in enumerate(cut) for part in parts_of(tree(), nodes)]
    scores = survey._scores[:, : survey.num_ready].flatten(1)[:, ::5]
    for at, one in enumerate(found):
        for part in one.parts:
            is_it = scores[[node for node, _ in fine]].argmax(dim=0) == [n for n, _ in fine].index(
                part.node
            )
            rest = [(node, owner) for node, owner in fine if node != part.node]
            owners = torch.tensor([owner for _, owner in rest])
            goes = owners[scores[[node for node, _ in rest]].argmax(dim=0)[is_it]]
            assert part.own == pytest.approx(float((goes == at).double().mean()), abs=1e-6)
            assert part.to_other == pytest.approx(
                float((goes == part.other).double().mean()), abs=1e-6
            )
            assert part.other != at


def test_a_survey_may_be_asked_before_and_while_it_is_filled_and_stops_when_told():
    survey = Survey(small_material().renderer, 3)
    assert [one.share for one in survey.measure(nodes_of(3))] == [0, 0, 0]
    stop = threading.Event()
    stop.set()
    survey.fill(stop)
    assert survey.num_ready == 0
    survey.fill()
    assert survey.num_ready == 3
    assert sum(one.share for one in survey.measure(nodes_of(3))) == pytest.approx(1)


def test_on_a_coarser_grid_every_place_of_a_square_is_seen_in_turn(monkeypatch):
    """Half of the toy's rows and columns: the four samples that follow each other see all pixels."""
    monkeypatch.setattr("factory.label.survey._GRID", 16)
    renderer = small_material().renderer
    for index in range(4):
        full = renderer.render(index, 32)[1]
        found = renderer.render(index, 16, is_shifted=True)[1]
        assert torch.equal(found, full[:, index % 2 :: 2, index // 2 :: 2])
    survey = Survey(renderer, 20)
    survey.fill()
    mask = small_material().gallery.masks([node for (node,) in nodes_of(4)])
    shares = [one.share for one in survey.measure(nodes_of(4))]
    assert shares == pytest.approx([(mask == k).mean() for k in range(4)], abs=0.01)

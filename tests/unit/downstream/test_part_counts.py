import numpy as np
import pytest
from colour_network import cell

from factory.downstream.intervals import draw_weights
from factory.downstream.part_counts import Tally, count_picture
from factory.downstream.score_settings import ScoreSettings
from factory.downstream.scored_classes import find_classes
from factory.errors import JobError

SETTINGS = ScoreSettings(unions={"whole": ("rim", "core")})
CLASSES = find_classes(("ground", "rim", "core"), SETTINGS)
PARTS = list(CLASSES.parts.values())


def counted(answer, truth, trimap_px=1):
    return count_picture("a", answer, truth, PARTS, trimap_px)


def test_figures_are_those_of_the_squares_that_were_drawn():
    truth, answer = cell(core=3, rim=6), cell(core=2, rim=6)
    other = np.zeros((16, 16), np.uint8)
    tally = Tally([counted(answer, truth), counted(other, other)], CLASSES, draw_weights(2))
    ground, rim, core, whole = tally.parts()
    assert [part.name for part in (ground, rim, core, whole)] == ["ground", "rim", "core", "whole"]
    assert (ground.iou.value, ground.num_pictures) == (1, 2)
    assert (whole.iou.value, whole.num_pictures) == (1, 1)
    assert whole.classes == ("rim", "core")
    assert [part.num_true for part in (ground, rim, core, whole)] == [2, 1, 1, 1]
    assert core.iou.value == round(16 / 36, 6) == core.iou_global.value
    assert core.dice.value == round(32 / 52, 6)
    assert rim.iou.value == round(108 / 128, 6)
    by_hand = (1 + 108 / 128 + 16 / 36) / 3
    assert abs(tally.miou(is_global=False, background=True).value - by_hand) < 1e-6
    without = (108 / 128 + 16 / 36) / 2
    assert abs(tally.miou(is_global=True, background=False).value - without) < 1e-6
    assert abs(tally.accuracy.value - (1 + 236 / 256) / 2) < 1e-6


def test_the_trimap_sees_the_part_s_border_alone():
    truth, answer = cell(core=3, rim=6), cell(core=3, rim=6)
    answer[7:9, 7:9] = 0  # in the middle of the core, 2 px from its border
    found = counted(answer, truth)
    core, whole = found.trimap[2], found.trimap[3]
    assert core.tolist() == [20, 20, 20]
    assert found.whole[2].tolist() == [32, 32, 36]
    assert whole.tolist() == [44, 44, 44]


def test_pixels_of_no_class_do_not_count_and_unanswered_ones_are_wrong():
    truth, answer = cell(), cell()
    truth[:8], answer[8] = 255, 255
    found = counted(answer, truth)
    assert found.num_px == 128
    assert found.num_right == 112
    assert found.whole[0][2] == (truth == 0).sum()


def test_unions_of_classes_that_a_protocol_does_not_know_are_refused():
    settings = ScoreSettings(protocol="feng2023", unions={"both": ("rim", "core")})
    with pytest.raises(JobError, match="--union: of feng2023"):
        find_classes(("ground", "rim", "core"), settings)

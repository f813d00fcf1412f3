"""Superpixels: connected, of about the size asked for, and with the image's borders."""

import colorsys

import numpy as np
import pytest
from small_painting import NAMES, toy_material, toy_pictures

from factory.label.painting.superpixels import find_superpixels
from factory.pack.image import decode_image
from factory.segment.objects.components import number_components


def scene(side=48):
    """A disc on a ground with another hue, with some noise."""
    rows, columns = np.mgrid[:side, :side]
    inside = np.hypot(rows - 20.3, columns - 26.8) < 13
    colours = [colorsys.hsv_to_rgb(hue, 0.6, 0.7) for hue in (0.08, 0.72)]
    image = np.where(inside[..., None], *np.multiply(colours, 255)[:, None, None])
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8), inside


@pytest.mark.parametrize("side_px", [3, 5, 8])
def test_each_is_connected_and_about_as_large_as_asked(side_px):
    found = find_superpixels(scene()[0], side_px)
    sizes = np.bincount(found.ravel())
    assert sizes.min() >= side_px * side_px // 4
    assert 0.5 < np.median(sizes) / side_px**2 < 2
    for number in range(len(sizes)):
        assert number_components(found == number).max() == 1


@pytest.mark.parametrize("side_px", [3, 5, 8])
def test_they_follow_the_borders_of_what_is_seen(side_px):
    image, inside = scene()
    found = find_superpixels(image, side_px)
    share = np.bincount(found.ravel(), inside.ravel()) / np.bincount(found.ravel())
    # Whole superpixels, each where most of it lies: a grid of squares gets 92 to 97 % right.
    assert ((share > 0.5)[found] == inside).mean() > 0.998


def test_an_image_of_one_colour_gives_squares(tmp_path):
    found = find_superpixels(np.full((20, 30, 3), 90, np.uint8), 5)
    assert len(np.unique(found)) == 24
    assert np.bincount(found.ravel()).max() <= 36


def test_pictures_of_a_generator_have_them(tmp_path):
    material = toy_material(toy_pictures(tmp_path))
    image = decode_image(material.picture_file(NAMES[0]).read_bytes())
    found = find_superpixels(image, 3)
    assert found.shape == image.shape[:2]
    assert found.dtype == np.uint16

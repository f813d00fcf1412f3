"""Latents to images with their inner features. The table of generators; `base.py` has the promise."""

from factory.plugins import Registry

GENERATORS = Registry(
    noun="generator",
    group="factory.generators",
    table={
        "shapes": "factory.generate.shapes:ShapesGenerator",
        "stylegan2": "factory.generate.stylegan2:StyleGAN2",
    },
)

SHIPPED = {"blood_cells": "blood_cells_64.safetensors"}
"""Weights inside this package, by the name after `shipped:`."""

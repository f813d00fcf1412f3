"""Latents to images with feature maps. The table of generators; `base.py` has their protocol."""

from factory.plugins import Registry

GENERATORS = Registry(
    noun="generator",
    group="factory.generators",
    table={
        "biggan_ajbrock": "factory.generate.biggan.ajbrock:BigGAN",
        "biggan_deep_hf": "factory.generate.biggan.deep_hf:BigGANDeepHF",
        "dcgan": "factory.generate.early.dcgan:DCGAN",
        "pggan": "factory.generate.early.pggan:PGGAN",
        "shapes": "factory.generate.shapes:ShapesGenerator",
        "stylegan1": "factory.generate.early.stylegan1:StyleGAN1",
        "stylegan2": "factory.generate.stylegan2.generator:StyleGAN2",
        "stylegan3": "factory.generate.stylegan3.generator:StyleGAN3",
        "stylegan_xl": "factory.generate.stylegan3.generator:StyleGAN3",
    },
)

SHIPPED = {"blood_cells": "blood_cells_64.safetensors"}
"""Weights inside this package, by the name after `shipped:`."""

WITHOUT_WEIGHTS = {"shapes": "A toy with exact masks, for trials and tests."}
"""The generators that read no weights, each with what it is."""

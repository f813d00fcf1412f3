"""Foreground by a direction of the latent space: masks from images that are shifted along it."""

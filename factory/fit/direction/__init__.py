"""Search the latent space for the directions that make a foreground lighter, or darker."""

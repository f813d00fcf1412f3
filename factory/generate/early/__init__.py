"""StyleGAN (first version), PGGAN and DCGAN."""

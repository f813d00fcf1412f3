"""StyleGAN3-t, StyleGAN3-r and StyleGAN-XL."""

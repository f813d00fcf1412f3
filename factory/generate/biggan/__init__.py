"""BigGAN and BigGAN-deep, in both published layouts."""

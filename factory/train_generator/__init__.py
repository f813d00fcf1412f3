"""Train a class-conditional generator from labelled pictures.

`trainer.py` has the training loop, `spec.py` the settings.
"""

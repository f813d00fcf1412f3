"""Train the generator that a dataset is made with, from labelled pictures alone.

`trainer.py` tells the story; `spec.py` has the settings.
"""

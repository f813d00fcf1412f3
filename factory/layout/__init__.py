"""Find latents whose masks have a wanted layout: by search, or by editing what is there.

A layout is a mask that somebody wants: class ids, 255 where anything may be. `objective.py` says how far
an image is from it, `descent.py` moves latents towards it, `search.py` does so for the samples of a
dataset, and `edit.py` for one sample that is changed.
"""

"""Edit latents until their masks have a wanted layout.

A layout is a mask that somebody wants: class ids, 255 where anything may be. `objective.py` says how far
an image is from it, `descent.py` moves latents towards it, `wish.py` joins both with a generator and a
segmenter; and `strokes.py` is about what is painted over a mask.
"""

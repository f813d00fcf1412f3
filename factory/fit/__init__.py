"""Fit segmenters on images of a generator. `fitted.py` finds or makes the file of a job.

Each method's fitter is a file here, named in the table of methods (`spec/methods.py`).
"""

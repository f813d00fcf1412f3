"""Turn a pretrained image generator into a segmentation dataset, without annotators.

A spec is planned into tasks; the segmenter is fit once; each task is a shard: generate, segment,
accept, pack, store; run does many at once; the manifest tells what was made; verify reads it back.
Read `job.py` and `shard.py` first.
"""

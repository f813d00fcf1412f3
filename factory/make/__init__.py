"""The steps of `shard.py`: compute samples, accept or reject them, commit the shard."""

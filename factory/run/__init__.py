"""Make many shards concurrently. The table of executors; `base.py` has their protocol."""

EXECUTORS = {
    "inline": "factory.run.inline:run_inline",
    "ray": "factory.run.ray_cluster:run_on_ray",
}
"""Executor name to the function that runs tasks."""

CLUSTER_CAPACITY = "factory.run.ray_session:cluster_capacity"
"""The function that returns how many workers of a run fit its cluster."""

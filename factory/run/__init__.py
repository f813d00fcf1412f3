"""Many shards at once. The table of executors; `base.py` has the promise."""

EXECUTORS = {
    "inline": "factory.run.inline:run_inline",
    "ray": "factory.run.ray_cluster:run_on_ray",
}
"""Executor name to the function that runs tasks."""

CLUSTER_CAPACITY = "factory.run.ray_session:cluster_capacity"
"""The function that tells how many workers of a run fit its cluster."""

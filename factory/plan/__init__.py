"""`JobSpec` to shards: rounds of growth, and rounds for coverage targets. Pure arithmetic."""

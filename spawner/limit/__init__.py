"""Limits on each process: resource limits, the nice value, the OOM score adjustment."""

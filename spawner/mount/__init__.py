"""Mounts of the container: propagation, and where /proc is."""

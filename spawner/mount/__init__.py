"""Mounts: the container's tree of mounts."""

"""Mounts: the tree of mounts inside."""

"""Namespaces of others, and how they are entered."""

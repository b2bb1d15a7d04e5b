"""Processes and files that outlast, or end, what the launcher has made."""

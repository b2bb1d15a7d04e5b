"""Ending the processes that outlast a container, and keeping its namespaces."""

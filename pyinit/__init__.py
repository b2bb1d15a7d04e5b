"""A PID 1 for containers: forwards signals, reaps orphans, tells how the workload ended.

The package runs as a program (`pyinit`, `python -m pyinit`). It imports built-in and frozen
modules only, so that PID 1 starts in the time of a bare interpreter and stays as small.
"""

__version__ = "0.1.0"

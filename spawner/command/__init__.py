"""The full command line: the options beyond a plain run, and the other commands."""

"""Measures `pyinit` and `pyspawn` beside their peers, interleaved in one run."""

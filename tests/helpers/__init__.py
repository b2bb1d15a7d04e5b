"""Build, start and watch real processes for the tests."""

"""The command line beyond a plain run: its options, and the other commands."""

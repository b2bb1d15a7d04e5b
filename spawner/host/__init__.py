"""The machine as it is found."""

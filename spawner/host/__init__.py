"""The host as it is found."""

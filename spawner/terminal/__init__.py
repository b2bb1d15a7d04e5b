"""The terminal, and job control."""

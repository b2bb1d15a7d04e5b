"""The terminal: its foreground, and job control."""

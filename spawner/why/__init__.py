"""Why: the causes of a refused call, and the hints."""

"""What one process can be given: resource limits, its nice value, its share of blame for memory."""

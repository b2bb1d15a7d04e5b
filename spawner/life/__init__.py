"""Life: processes and files that outlast a container, or end it."""

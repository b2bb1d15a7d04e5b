"""What pyspawn looks up about the host."""

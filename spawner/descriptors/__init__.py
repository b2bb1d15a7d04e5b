"""Which open files the program gets beside its standard streams."""

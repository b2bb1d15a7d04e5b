"""What the program may do: capabilities, and whether an exec can give it more."""

"""Reports for people and programs, and explanations of the steps."""

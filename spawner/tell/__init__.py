"""What pyspawn tells people and programs: reports, and explanations of the steps."""

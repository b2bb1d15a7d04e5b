"""What pyinit promises, held under the engines that people run it with, and on a bare kernel."""

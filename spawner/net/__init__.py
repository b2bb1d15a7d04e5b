"""Networks of the container, and the processes that connect them."""

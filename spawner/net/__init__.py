"""Networks: what they are, and the processes that connect them."""

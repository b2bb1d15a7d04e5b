"""The kernel, and nothing else: constants by header, libc bound once, typed system calls."""

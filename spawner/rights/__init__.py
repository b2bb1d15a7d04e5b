"""The program's rights: capabilities, no_new_privs and seccomp filters."""

"""Undo PEP 538, by which Python sets LC_CTYPE when it starts in a C locale.

The truth is in /proc/self/environ, which stays as execve(2) left it, proc_pid_environ(5).
"""

import posix

from pyinit import read_file

# What PEP 538 may set LC_CTYPE to (Python/pylifecycle.c, _TARGET_LOCALES).
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")
# What LANG is in a C locale that LC_ALL doesn't set, setlocale(3).
_LANG_OF_C = (None, b"", b"C", b"POSIX")


def undo() -> None:
    """Restore LC_CTYPE in the C library's environment.

    If /proc/self/environ can't be read, a value that looks coerced, in the last place of a C
    locale's environment, is taken for the interpreter's, which appends.
    """
    value = posix.environ.get(b"LC_CTYPE")
    if value not in _COERCED:
        return
    initial = read_file("/proc/self/environ")
    if not initial.endswith(b"\0"):
        in_c_locale = not posix.environ.get(b"LC_ALL") and posix.environ.get(b"LANG") in _LANG_OF_C
        if in_c_locale and list(posix.environ)[-1] == b"LC_CTYPE":
            posix.unsetenv(b"LC_CTYPE")
        return
    for entry in initial.split(b"\0"):
        if entry.startswith(b"LC_CTYPE="):
            posix.putenv(b"LC_CTYPE", entry[9:])
            return
    posix.unsetenv(b"LC_CTYPE")

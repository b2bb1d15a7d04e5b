"""The entry point: it blocks every signal before it imports anything else.

`python -m spawner` and the installed command come here, and the lean start of `initpath.pyspawn`.
"""

import _signal
import gc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> "NoReturn":
    """Block every signal, then run `pyspawn` with the words of sys.argv and exit."""
    gc.disable()  # there is nothing to collect yet, and looking for it would take 0.4 ms
    early = set()
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    try:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    except KeyboardInterrupt:  # the interpreter's own SIGINT handler was quicker
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        early.add(_signal.SIGINT)
    from spawner import cli

    cli.main(mask, early)


if __name__ == "__main__":
    main()

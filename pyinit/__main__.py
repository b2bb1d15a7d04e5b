"""The entry point: it blocks every signal before it imports anything else.

Works as `python -m pyinit`, as `import pyinit.__main__` (the lean start), and as a script in a
copied directory: `python3 -IS /opt/pyinit/__main__.py`.
"""

import _signal
import gc

_mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
_pending = set()
try:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
except KeyboardInterrupt:  # the interpreter's own SIGINT handler was quicker
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    _pending.add(_signal.SIGINT)

gc.disable()  # until the workload runs: there is nothing to collect yet, `supervisor`

if not __package__:
    import sys

    sys.path[:0] = [__file__.rpartition("/")[0].rpartition("/")[0] or "."]

from pyinit import cli  # noqa: E402  after the blocking

cli.main(_mask, _pending)

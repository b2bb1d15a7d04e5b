"""A session of the program's own, as a wish."""

from spawner.spec import Wish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from spawner.spec import Choice


class Session(Wish):
    """The wish that the program is in a session of its own, out of reach of the caller's terminal.

    See setsid(2) and credentials(7).
    """

    door = "spawner.terminal.own"


def wish(values: "Mapping[str, Any]", choice: "Choice") -> Session | None:
    """Return the wish for a session if the options ask for one."""
    del choice
    return Session() if values.get("new_session") else None

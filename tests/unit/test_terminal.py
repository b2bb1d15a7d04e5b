"""What a command line shows of a terminal's use."""

from __future__ import annotations

import pytest

from spawner.terminal import job


@pytest.mark.parametrize(
    ("line", "prompts"),
    [
        ("bash", True),
        ("/bin/sh", True),
        ("-zsh", True),
        ("bash --norc -i", True),
        ("bash --rcfile file -i", True),
        ("bash -l", True),
        ("bash script", False),
        ("bash -c cmd", False),
        ("bash -lc cmd", False),
        ("sh -x script", False),
        ("python3", False),
        ("sleep 1", False),
    ],
)
def test_a_shell_that_prompts(line: str, prompts: bool) -> None:
    assert job.is_interactive_shell(line.split()) == prompts

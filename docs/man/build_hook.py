"""Put the manual pages into the wheel; they are rendered while it is built, and not committed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManualPages(BuildHookInterface[Any]):
    """Renders docs/man/*.1.in for share/man/man1."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Render the pages and add them to what the wheel installs beside the packages."""
        self.pages = tempfile.TemporaryDirectory(prefix="pidone-man-")
        render = Path(self.root, "docs/man/render.py")
        subprocess.run([sys.executable, "-I", render, self.pages.name], check=True)
        for page in Path(self.pages.name).iterdir():
            build_data["shared_data"][str(page)] = f"share/man/man1/{page.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was rendered."""
        self.pages.cleanup()

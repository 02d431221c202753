"""Where things lie under `--workspace`."""

import json
from dataclasses import dataclass
from pathlib import Path

from varant.errors import UserError
from varant.files import write_json

FILE, FORMAT, VERSION = "workspace.json", "varant-workspace", 1


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """The folder of all that studies write."""

    folder: Path

    def model(self, digest: str) -> Path:
        return self.folder / "models" / digest[:16]

    def tokens(self, digest: str) -> Path:
        return self.folder / "tokens" / digest[:16]

    def cell(self, digest: str) -> Path:
        return self.folder / "cells" / digest[:16]

    def study(self, name: str) -> Path:
        return self.folder / name

    def claim(self) -> None:
        """Write which version of the layout this folder has; `UserError` if it is not ours."""
        path = self.folder / FILE
        if not path.exists():
            write_json(path, {"format": FORMAT, "version": VERSION})
            return
        try:
            content = json.loads(path.read_text())
            version = content["version"] if content["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            version = None
        if version != VERSION:
            raise UserError(
                f"--workspace {self.folder}: version {version} in {FILE}, this code writes "
                f"{VERSION}; name another folder"
            )

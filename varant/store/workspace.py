"""Where things lie under `--workspace`."""

from dataclasses import dataclass
from pathlib import Path

from varant.errors import UserError
from varant.files import read_json, write_json

FILE, VERSION = "workspace.json", 1
FORMAT: dict[str, object] = {"format": "varant-workspace"}
MIRROR = "mirror"


@dataclass(frozen=True, kw_only=True)
class Workspace:
    folder: Path

    def model(self, digest: str) -> Path:
        return self.folder / "models" / digest[:16]

    def tokens(self, digest: str) -> Path:
        return self.folder / "tokens" / digest[:16]

    def cell(self, digest: str) -> Path:
        return self.folder / "cells" / digest[:16]

    def study(self, name: str) -> Path:
        return self.folder / name

    def outline(self, study: str, config_digest: str) -> Path:
        """Of what MLflow shows of a study beside its cells."""
        return self.folder / MIRROR / f"{study}-{config_digest[:16]}.json"

    def claim(self) -> None:
        """Write which version of the layout this folder has; `UserError` if it is not ours."""
        path = self.folder / FILE
        if not path.exists():
            write_json(path, FORMAT | {"version": VERSION})
            return
        try:
            version = read_json(path, FORMAT).get("version")
        except (OSError, ValueError):
            version = None
        if version != VERSION:
            raise UserError(
                f"--workspace {self.folder}: version {version} in {FILE}, this code writes "
                f"{VERSION}; name another folder"
            )

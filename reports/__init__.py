"""A study's saved folder -> figures and PDF. Imports `analysis`, and of varant what
rests on the standard library alone.

`reports.build(folder)` is what a study calls when its frame is written, and what
`python -m reports FOLDER` calls later, on a machine that may have neither torch nor MLflow.
"""

from varant import signals  # noqa: F401  # first of all: signals end a command from here on

# isort: split
from reports.build import build
from reports.parts.report import ReportPaths

__all__ = ["ReportPaths", "build"]

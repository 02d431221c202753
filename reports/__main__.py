"""Rebuild a study's figures and PDF from its saved folder.

    python -m reports runs/sensitivity

Takes a few seconds, needs neither torch nor MLflow, and changes only what the report wrote:
`figures/`, `summary.*`, `answer.json`, `report.pdf`. Exit code 0 done, 2 a folder or file that
the user can mend, 1 what the machine did.
"""

import argparse
import sys
from pathlib import Path

from analysis.frame import FrameError
from reports import build


def main(arguments: list[str] | None = None) -> int:
    """Build the report of the folder on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Rebuild the figures and report.pdf of a study."
    )
    parser.add_argument("folder", type=Path, help="a study's folder, such as runs/sensitivity")
    folder = parser.parse_args(arguments).folder
    try:
        paths = build(folder)
    except FrameError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"error: {error.filename}: {error.strerror}; make it writable", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{paths.verdict}: {paths.pdf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

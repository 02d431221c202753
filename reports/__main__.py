"""Rebuild a study's figures and PDF from its saved folder; join or compare folders.

    python -m reports runs/sensitivity
    python -m reports --pool night-0/pareto night-1/pareto pooled
    python -m reports --compare here/pareto there/pareto differences
    python -m reports runs/pareto --trace "progressive s0 d4@4"
    python -m reports --ablation runs/pareto --baseline progressive

The first changes only what the report wrote: `figures/`, `summary.*`, `answer.json`, `report.pdf`.
`--pool` joins folders of one config and different units into the last one; nothing but an earlier
pool is replaced. `--compare` and `--trace` print and change nothing; a third folder takes
`compare.pdf` and `compare.json`. `--ablation` writes `ablation.pdf`, `.tex` and `.csv` into the
folder, or into a second one. docs/studies.md says what each is for.

All take a few seconds and need neither torch nor MLflow. Exit code 0 done, 2 a folder or file that
the user can mend, 1 what the machine did.
"""

import argparse
import sys
from pathlib import Path

from analysis.errors import FrameError
from reports.ablation import ablation
from reports.build import build, load_head
from reports.compare import compare
from reports.pool import pool
from reports.trace import trace
from varant.errors import exit_codes, one_line
from varant.manifest import Damaged


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        usage="%(prog)s FOLDER [--trace NAME] | --pool A B [C ...] OUT | --compare A B [OUT] | "
        "--ablation FOLDER [OUT] [--baseline NAME]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?", help="a study's, such as runs/sensitivity")
    parser.add_argument(
        "--pool", type=Path, nargs="+", metavar="FOLDER", help="folders to join, then a new one"
    )
    parser.add_argument(
        "--compare", type=Path, nargs="+", metavar="FOLDER", help="two, and one for the PDF"
    )
    parser.add_argument(
        "--ablation", type=Path, nargs="+", metavar="FOLDER", help="one, and one to write into"
    )
    parser.add_argument(
        "--baseline", metavar="NAME", help="of --ablation (default: the progressive schedule)"
    )
    parser.add_argument("--trace", metavar="NAME", help="words of a label in the folder's report")
    flags = parser.parse_args(arguments)
    given = (flags.folder, flags.pool, flags.compare, flags.ablation)
    if sum(one is not None for one in given) != 1:
        parser.error("give one folder, or --pool, or --compare, or --ablation")
    if flags.baseline is not None and flags.ablation is None:
        parser.error("--baseline: goes with --ablation")
    if flags.ablation and len(flags.ablation) > 2:
        parser.error("--ablation: give one folder, and a second to write into if you want one")
    if flags.trace is not None and flags.folder is None:
        parser.error("--trace: goes with a folder")
    if flags.pool and len(flags.pool) < 3:
        parser.error("--pool: give at least two folders to join, and a new one")
    if flags.compare and len(flags.compare) not in (2, 3):
        parser.error("--compare: give two folders, and a third for the PDF if you want one")
    try:
        print(_done(flags), flush=True)
    except BrokenPipeError:  # an OSError, and no trouble: `exit_codes` ends quietly
        raise
    except (FrameError, Damaged) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except PermissionError as error:
        print(f"error: {error.filename}: {error.strerror}; make it writable", file=sys.stderr)
        return 2
    except OSError as error:
        out = flags.folder or (flags.pool or flags.compare or flags.ablation)[-1]
        said = error.strerror or one_line(error)
        print(f"error: {out}: {said}; no report was changed", file=sys.stderr)
        return 1
    return 0


def _done(flags: argparse.Namespace) -> str:
    if flags.compare:
        found = compare(*flags.compare[:2])
        written = [found.write(out) for out in flags.compare[2:]]
        return "\n".join([found.text(), *map(str, written)])
    if flags.ablation:
        table = ablation(flags.ablation[0], flags.baseline)
        return f"{table.summary}: {table.write(flags.ablation[-1])}"
    if flags.trace is not None:
        return trace(flags.folder, load_head(flags.folder), flags.trace)
    folder = pool(flags.pool[:-1], flags.pool[-1]) if flags.pool else flags.folder
    paths = build(folder)
    return f"{paths.verdict}: {paths.pdf}"


if __name__ == "__main__":
    with exit_codes():
        sys.exit(main())

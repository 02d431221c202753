"""Mirror everything in a workspace into MLflow again: its database is made anew.

    python -m studies.tracking runs

From the results of the cells and the outlines in `mirror/`, for every study and config that was
ever run there; no cell runs. The database that was there is kept beside the new one under a name
that is said. Artifacts are those that a study's folder has now: of its last config.

Takes a second for a few hundred cells and a few to begin. Exit code 0 done, 2 what the user can
mend.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from analysis.errors import FrameError
from analysis.study_file import FILE, StudyHead
from studies.cells.result import CellResult, read_result
from studies.tracking.mirror import mirror_study
from studies.tracking.outline import Outline, read_outline
from varant.errors import UserError, exit_codes, one_line, require_writable
from varant.manifest import damage_named
from varant.store.workspace import FILE as WORKSPACE_FILE, Workspace


def mirror_again(workspace: Workspace) -> str:
    """Make the database of a workspace anew; what was done, in words.

    Raises:
        UserError: no workspace, or a study is running there.
    """
    from studies.tracking.mlflow_runs import DATABASE, set_aside

    if not (workspace.folder / WORKSPACE_FILE).is_file():
        raise UserError(f"{workspace.folder}: no workspace (no {WORKSPACE_FILE}); name one")
    require_writable("the workspace", workspace.folder)
    workspace.claim()
    outlines = list(_outlines(workspace))
    _warn_of_others(workspace, outlines)
    kept = set_aside(workspace.folder)
    cells = 0
    for outline in outlines:
        results = dict(_results(workspace, outline))
        try:
            mirror_study(_with_artifacts(workspace, outline), results, workspace)
        except (OSError, UserError):
            raise
        except Exception as error:  # of MLflow, SQLAlchemy and SQLite, without a common base
            raise OSError(f"MLflow: {one_line(error)[:300]}") from None
        cells += len(results)
    before = f"; the one before is {kept.name}" if kept else ""
    return f"{workspace.folder / DATABASE}: {len(outlines)} studies, {cells} cells mirrored{before}"


def _outlines(workspace: Workspace) -> Iterator[Outline]:
    """Those that are whole, oldest first; others are named."""
    paths = workspace.outline("", "").parent.glob("*-*.json")
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        with damage_named():
            yield read_outline(path)


def _warn_of_others(workspace: Workspace, outlines: list[Outline]) -> None:
    """Name studies that left no outline: of an older version, or damaged."""
    known = {outline.study.config_digest for outline in outlines}
    for path in sorted(workspace.folder.glob(f"*/{FILE}")):
        try:
            study = StudyHead.load(path)
        except FrameError as error:
            print(f"warning: {error}", file=sys.stderr)
            continue
        if study.config_digest not in known:
            said = f"no outline of it; run again: {study.command}"
            print(f"warning: {path.parent}: {said}", file=sys.stderr)


def _results(workspace: Workspace, outline: Outline) -> Iterator[tuple[str, CellResult]]:
    """Results that are there, by digest; what is damaged is named."""
    for cell in outline.cells:
        with damage_named():
            result = read_result(workspace.cell(cell.digest), cell.digest)
            if result is not None:
                yield cell.digest, result


def _with_artifacts(workspace: Workspace, outline: Outline) -> Outline:
    """The outline with the files that are there; none where the folder is of another config."""
    study, answer = outline.study, outline.answer
    if answer is None:
        return outline
    try:
        last = StudyHead.load(workspace.study(study.experiment) / FILE).config_digest
    except FrameError:  # it was named above
        last = None
    artifacts = {
        folder: tuple(file for file in files if (workspace.folder / file).is_file())
        for folder, files in answer.artifacts.items()
        if last == study.config_digest
    }
    return replace(outline, answer=replace(answer, artifacts=artifacts))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m studies.tracking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workspace", type=Path, nargs="?", default=Path("runs"))
    with exit_codes():
        flags = parser.parse_args(arguments)
        print(mirror_again(Workspace(folder=flags.workspace.resolve())))


if __name__ == "__main__":
    main()

"""What does depth save in time? Ratios of two things that were timed by turns in one run.

    python -m studies.efficiency

The `training` part, on random tokens, one thread on a CPU (CPU-seconds) or one CUDA device (wall):
- a subnet step over a full step, against the ratio of their FLOPs, where matrix products dominate
  (depth 12, width 384, the official 680 tokens);
- training on cached tokens over tokenising at every step, with the official tokenizer and VAR-d16;
- the share of a step that loading its tokens takes, and images a second, for the small default.

Takes about 4 minutes and 8 GiB on one core. Expect step ratios within 15 % of the FLOPs ratio,
cached tokens at 1.12 times the throughput of online ones or better, loading under 2 %.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from analysis.study_file import EfficiencyFile, TimingFacts
from studies.tracking.logged import LoggedStudy
from varant.errors import exit_codes, require_writable
from varant.files import digest_of
from varant.flags import Positive, choices, command_words, flags_of, plain
from varant.start.config import RunConfig
from varant.store.workspace import Workspace

STUDY = "efficiency"


@dataclass(frozen=True, kw_only=True)
class EfficiencyConfig:
    """Flags of the study."""

    run: RunConfig = RunConfig()
    parts: Annotated[tuple[str, ...], choices(("training",))] = ("training",)
    """What to time: a list."""
    repeats: Positive = 5
    """Timings of each thing, by turns; the median counts."""

    @classmethod
    def quick_defaults(cls) -> EfficiencyConfig:
        return cls()


def table(timings: Sequence[TimingFacts]) -> str:
    """Plain text: median, range, and what it is compared with."""
    import pandas as pd

    rows = pd.DataFrame([timing.model_dump() for timing in timings]).set_index("name")
    named = rows.rename(columns={"value": "median"}).rename_axis(None)
    return str(named.to_string(float_format=lambda value: f"{value:.4g}"))


def main(config: EfficiencyConfig, command: str) -> None:
    """Time, print, write the study's folder, and record it."""
    from varant.devices import check_device, check_precision

    run = config.run
    check_device(run.device)
    check_precision(run.precision, run.device)
    study = f"{STUDY}-quick" if run.quick else STUDY
    if run.dry_run:
        print("\n".join(f"{key} = {value}" for key, value in plain(config).items()))
        print("training: step ratios, cached against online tokens, loading share, small default")
        return
    require_writable("--workspace", run.workspace)
    import torch

    from studies.cells.timing import Stopwatch, training_timings
    from studies.grid.folder import head_facts, write_study

    torch.set_num_threads(1)
    timings = []
    watch = Stopwatch(repeats=config.repeats, device=run.device, quick=run.quick)
    for timing in training_timings(watch):
        timings.append(timing)
        print(f"{timing.name}: done", file=sys.stderr)
    file = EfficiencyFile(**head_facts(study, command, run, workers=1), timings=tuple(timings))
    path = write_study(Workspace(folder=run.workspace).study(study), file)
    _record(config, file, path)
    marked = "QUICK, no result\n" if run.quick else ""
    print(f"{marked}{table(timings)}\n{path}")


def _record(config: EfficiencyConfig, file: EfficiencyFile, path: Path) -> None:
    """One MLflow run: the medians, and the study's file."""
    from studies.tracking.mirror import mirroring

    flags = {"parts": config.parts, "repeats": config.repeats, "device": config.run.device}
    timings = [timing.model_dump() for timing in file.timings]
    study = LoggedStudy(
        experiment=file.study,
        run_name=f"training on {file.hardware.gpu or file.hardware.cpu}",
        config_digest=digest_of(flags | {"timings": timings}),
        params=flags,
        quick=file.quick,
        question="What does depth save in time?",
    )
    with mirroring():
        from studies.tracking.mlflow_runs import open_study

        names = str.maketrans({"@": "-", ",": "", "/": "over"})
        open_study(config.run.workspace, study).finish(
            note=table(file.timings),
            metrics={timing.name.translate(names): timing.value for timing in file.timings},
            tags={"hardware": file.hardware.model_dump_json()},
            artifacts={"": [path]},
            failed=False,
        )


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(EfficiencyConfig, __doc__), command_words("studies.efficiency"))

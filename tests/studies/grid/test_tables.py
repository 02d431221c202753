"""The packaged tables of the instrument, and what every study that judges plans by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from command_lines import config_of

from analysis.instrument_file import NoiseTable
from studies.grid.flags import StudyConfig
from studies.grid.instrument import TABLES
from studies.pareto import Pareto, ParetoConfig
from studies.regime import RegimeConfig, RegimeStudy
from studies.schedule import ScheduleConfig, ScheduleStudy
from studies.sensitivity import Sensitivity, SensitivityConfig
from studies.study import Study
from studies.switch import Switch, SwitchConfig
from varant.presets import PresetName

JUDGES: dict[type[Study[Any, Any]], type[StudyConfig]] = {
    Pareto: ParetoConfig,
    RegimeStudy: RegimeConfig,
    ScheduleStudy: ScheduleConfig,
    Sensitivity: SensitivityConfig,
    Switch: SwitchConfig,
}


class Stopped(Exception):
    """Where a study would begin to run."""


def test_a_study_says_what_it_could_show_before_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped

    monkeypatch.setattr("studies.grid.bench.prepare_bench", stop)
    config = config_of(ParetoConfig, preset="tiny", workspace=tmp_path / "runs")
    with pytest.raises(Stopped):
        Pareto(config, "test").run()
    said = capsys.readouterr().err.splitlines()
    (begins,) = (i for i, line in enumerate(said) if line.startswith("power, by variance comp"))
    lines = said[begins + 1 :]
    assert [line for line in lines if line.startswith("  C7a, fd: margin ")]
    assert all("smallest detectable" in line for line in lines)
    assert not any("CPU-s" in line for line in lines), "nothing was timed"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"depths": "4,2,1"}, "C4 the fewest layers: not planned, since the noise table has no"),
        ({"train_switch": 4}, "C7a, C8), since studies.noise was not run for this setting"),
        ({}, ""),
    ],
)
def test_a_test_that_cannot_be_planned_is_named(flags: dict[str, Any], said: str) -> None:
    study = Pareto(config_of(ParetoConfig, preset="tiny", **flags), "test")
    bench, _ = study.plan()
    unplanned = [line for line in study._outlook_lines(bench) if "not planned" in line]
    assert [said in line for line in unplanned] == [True] * bool(said)


@pytest.mark.parametrize("preset", get_args(PresetName))
def test_a_preset_s_tables_are_of_its_data_tokenizer_and_features(preset: str) -> None:
    """Or all its verdicts would be *cannot resolve*, unseen."""
    planned, _ = Sensitivity(config_of(SensitivityConfig, preset=preset), "test").plan()
    ladder = planned.instrument.ladder
    assert ladder is not None
    assert all(
        (one.kind in ("fd", "kid")) <= (one.floor_spread is not None) for one in ladder.metrics
    )
    packaged = (TABLES / f"noise-{preset}.json").exists()
    assert (planned.instrument.noise is not None) == packaged


@pytest.mark.parametrize("study", JUDGES, ids=lambda study: study.name)
def test_a_study_that_judges_plans_its_power(study: type[Study[Any, Any]]) -> None:
    asked = study(config_of(JUDGES[study]), "test")
    lines = asked.planned(asked.plan()[0])
    table = NoiseTable.read(TABLES / "noise-small.json")
    known = {quantity.quantity for quantity in table.quantities}
    assert lines and all(known.issuperset(rests.quantities) for rests in lines.values())


def test_no_study_that_judges_is_left_out() -> None:
    def below(kind: type[Study[Any, Any]]) -> set[type[Study[Any, Any]]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    named = {s for s in below(Study) if s.__module__.startswith("studies.") and "name" in vars(s)}
    assert {one for one in named if one.verdicts} == set(JUDGES)

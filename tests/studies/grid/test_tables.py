"""The packaged tables of the instrument, and what every study that judges plans by them."""

from __future__ import annotations

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
    lines = study(config_of(JUDGES[study]), "test").planned()
    table = NoiseTable.read(TABLES / "noise-small.json")
    known = {quantity.quantity for quantity in table.quantities}
    assert lines and all(known.issuperset(rests.quantities) for rests in lines.values())


def test_no_study_that_judges_is_left_out() -> None:
    def below(kind: type[Study[Any, Any]]) -> set[type[Study[Any, Any]]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    named = {s for s in below(Study) if s.__module__.startswith("studies.") and "name" in vars(s)}
    assert {one for one in named if one.verdicts} == set(JUDGES)

"""Tables of the instrument: which are used, which are refused, and what samples follow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from command_lines import config_of
from instrument_frames import SETTING, noise_table

from analysis.instrument_file import LadderTable, NoiseTable, Passes, Setting
from analysis.study_file import SamplingFacts
from studies.grid import instrument
from studies.grid.instrument import Instrument, instrument_of, samples_of
from studies.pareto import ParetoConfig
from studies.sensitivity import SensitivityConfig
from varant import Geometry, UserError
from varant.start.sources import Resolved

ZONES = {"early": True, "middle": True, "late": False}
LADDER = LadderTable(
    setting=SETTING,
    samples=1000,
    repeats=20,
    metrics=(Passes(kind="fd", extractor="shapes-1a2b3c", zones=ZONES, floor_spread=0.02),),
)
GEOMETRY = Geometry.official(16)
SAMPLING = SamplingFacts(samples=1000, cfg=0.0, top_k=0, top_p=0.0)
OTHER = SETTING.model_copy(update={"extractors": ("another", "two")})


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packaged tables: one ladder, one noise table."""
    (tmp_path / "ladder-here.json").write_text(LADDER.model_dump_json())
    of = {"depth": GEOMETRY.depth, "width": GEOMETRY.width}
    noise = noise_table().model_copy(update=of)
    (tmp_path / "noise-here.json").write_text(noise.model_dump_json())
    monkeypatch.setattr(instrument, "TABLES", tmp_path)
    return tmp_path


def tables_of(
    config: ParetoConfig,
    setting: Setting = SETTING,
    geometry: Geometry = GEOMETRY,
    images: int | None = 48_000,
) -> Instrument:
    dataset = SimpleNamespace(digest=setting.dataset)
    resolved = SimpleNamespace(dataset=dataset, geometry=geometry, training_images=images)
    return instrument_of(config, cast(Resolved, resolved), lambda: setting)


def test_packaged_tables_are_used_in_their_setting_alone(tables: Path) -> None:
    found = tables_of(ParetoConfig())
    assert found.ladder == LADDER and found.noise is not None
    assert tables_of(ParetoConfig(), OTHER) == Instrument(ladder=None, noise=None)


@pytest.mark.parametrize("study", ["ladder", "noise"])
def test_a_given_table_of_another_setting_is_refused(tables: Path, study: str) -> None:
    path = tables / f"{study}-here.json"
    config = config_of(ParetoConfig, **{study: path})
    with pytest.raises(UserError, match=f"--{study} {path}: of another extractor"):
        tables_of(config, OTHER)


def test_a_file_that_is_no_table_and_a_table_of_another_network_are_refused(tables: Path) -> None:
    given = config_of(ParetoConfig, ladder=tables / "none.json")
    with pytest.raises(UserError, match=r"--ladder .*none.json: cannot be read"):
        tables_of(given)
    given = config_of(ParetoConfig, noise=tables / "noise-here.json")
    with pytest.raises(UserError, match="of a network of 16 layers"):
        tables_of(given, geometry=Geometry.official(20))
    with pytest.raises(UserError, match="of base networks of 48000 training images, not 90000"):
        tables_of(given, images=90_000)
    assert tables_of(ParetoConfig(), images=90_000).noise is None


@pytest.mark.parametrize(
    ("of_table", "flags", "said"),
    [
        ({"train_switch": 6}, {"train_switch": 5}, "trained for switch 6, not 5"),
        ({"sampling": SAMPLING}, {"cfg": 1.5}, "samples drawn otherwise"),
    ],
)
def test_a_noise_table_speaks_of_what_it_was_measured_on(tables, of_table, flags, said) -> None:
    path = tables / "noise-here.json"
    path.write_text(NoiseTable.read(path).model_copy(update=of_table).model_dump_json())
    assert tables_of(ParetoConfig()).noise is not None
    assert tables_of(config_of(ParetoConfig, **flags)).noise is None
    with pytest.raises(UserError, match=said):
        tables_of(config_of(ParetoConfig, noise=path, **flags))


def test_a_ladder_speaks_of_at_least_as_many_samples() -> None:
    found, names = Instrument(ladder=LADDER, noise=None), ["fd/shapes-1a2b3c/n2000", "nll/mean"]
    fewer = "fd/shapes-1a2b3c/n500"  # a part of the same study's samples
    assert found.facts([*names, fewer], 2000)["ladder"] == {"fd/shapes-1a2b3c/n2000": ZONES}
    assert found.facts(names, 999)["ladder"] is None


def test_a_floor_s_spread_is_that_of_exactly_as_many_samples() -> None:
    found, names = Instrument(ladder=LADDER, noise=None), ("500", "1000", "2000")
    named = [f"fd/shapes-1a2b3c/n{samples}" for samples in names]
    known = found.facts([*named, "kid/shapes-1a2b3c/n1000", "nll/mean"], 999)
    assert known["floor_spreads"] == {named[1]: 0.02}
    nothing = Instrument(ladder=None, noise=None).facts(named, 2000)
    assert nothing == {"ladder": None, "floor_spreads": {}}


def test_samples_are_the_flag_s_or_what_the_power_asks_for() -> None:
    def samples(
        config: type[ParetoConfig] | type[SensitivityConfig],
        noise: bool,
        held_out: int = 10_000,
        **flags: int,
    ) -> int:
        quantity = "asymmetry" if config is SensitivityConfig else "loss half"
        table = noise_table(quantity=quantity) if noise else None
        found = Instrument(ladder=LADDER, noise=table)
        return samples_of(config_of(config, **flags), found, "shapes-1a2b3c", held_out=held_out)

    assert samples(ParetoConfig, True, samples=700) == 700
    assert samples(ParetoConfig, False) == LADDER.samples == 1000
    nothing = Instrument(ladder=None, noise=None)
    usual = config_of(ParetoConfig)
    assert samples_of(usual, nothing, "shapes-1a2b3c", held_out=10_000) == 2000
    assert samples_of(usual, nothing, "shapes-1a2b3c", held_out=200) == 200  # as many real images
    assert samples(ParetoConfig, True, held_out=3000) == 3000
    assert samples(ParetoConfig, True, held_out=200, samples=700) == 700
    assert samples(ParetoConfig, True) == 4000
    assert samples(SensitivityConfig, True) == LADDER.samples  # whose units differ by far more

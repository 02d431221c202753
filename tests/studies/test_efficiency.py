"""The efficiency study: what it times, and that it says what it timed."""

import itertools
import json

import numpy as np
import pytest
from mlflow_runs import finished_runs

from studies.cells import timing
from studies.cells.timing import Stopwatch
from studies.efficiency import EfficiencyConfig, main
from varant import UserError
from varant.flags import flags_of


def test_things_are_timed_by_turns_after_one_untimed_round(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "process_time", lambda: float(next(clock)))
    calls = []
    works = [lambda: calls.append("a"), lambda: calls.append("b")]
    seconds = Stopwatch(repeats=3, device="cpu").by_turns(works)
    assert calls == ["a", "b"] * 4
    np.testing.assert_array_equal(seconds, np.ones((3, 2)))


def test_the_quick_study_leaves_its_numbers(tmp_path, capsys):
    flags = ["--quick", "--repeats", "1", "--workspace", str(tmp_path)]
    main(flags_of(EfficiencyConfig, None, flags), "test")
    said = capsys.readouterr().out
    assert said.startswith("QUICK, no result")
    content = json.loads((tmp_path / "efficiency-quick" / "study.json").read_text())
    assert content["quick"] is True
    timings = {t["name"]: t for t in content["timings"]}
    assert set(timings) == {
        "step time d2@6 / full",
        "step time d1@6 / full",
        "throughput on cached tokens / tokenised online",
        "loading / step, small default",
        "training speed, small default",
    }
    for name, found in timings.items():
        assert found["low"] <= found["value"] <= found["high"], name
        assert name in said
    assert (
        timings["step time d2@6 / full"]["expected"] > timings["step time d1@6 / full"]["expected"]
    )
    (run,) = finished_runs(tmp_path, "efficiency-quick")
    assert run.data.metrics["training speed small default"] == pytest.approx(
        timings["training speed, small default"]["value"]
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--parts", "memory"], "--parts memory: use one of training"),
        (["--repeats", "0"], "--repeats 0: must be at least 1"),
        (["--device", "tpu"], "--device tpu: use cpu"),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(flags_of(EfficiencyConfig, None, ["--workspace", f"{tmp_path}/runs", *flags]), "test")
    assert not (tmp_path / "runs").exists()

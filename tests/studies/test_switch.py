"""The switch study: its maps and losses on planted frames, and the command from end to end."""

import json

import numpy as np
import pandas as pd
import pytest
from mlflow_runs import finished_runs
from pareto_frames import FD, NLL, SELECT

from analysis.frame import checked_frame
from analysis.maps.switch_depth import earliest, switch_losses, trained_at, transfer_map
from analysis.metrics import parse_metric
from reports import build
from studies.switch import Switch, SwitchFlags
from varant.errors import exit_codes

SWITCHES, SEEDS, SETS = (1, 2, 3), (0, 1, 2, 3, 4), 4


def planted(*, mismatch=0.1, loss=lambda switch: 0.3 - 0.1 * switch, seeds=SEEDS) -> pd.DataFrame:
    """Models of each switch point; used elsewhere they lose `mismatch` nats for each scale."""
    rng, rows = np.random.default_rng(0), []
    of_set = 0.05 * rng.standard_normal(SETS)
    for trained in (None, *SWITCHES):
        for seed in seeds:
            for used in (None, *SWITCHES):
                if trained is None and used is not None:
                    continue
                level = 3.0
                if used is not None:
                    level += loss(used) + mismatch * abs(trained - used)
                shared = {
                    "study": "switch",
                    "base_seed": 0,
                    "scale": None,
                    "window": None,
                    "family": "full" if used is None else "switch",
                    "cell": "full" if used is None else f"d4@{used}",
                    "switch": used,
                    "subnet_depth": None if used is None else 4,
                    "selector": "equidistant",
                    "cell_digest": f"{trained}-{seed}-{used}",
                    "status": "finished",
                    "schedule": "control" if trained is None else f"switch {trained}",
                    "share": 0.0 if trained is None else 0.67,
                    "seed": seed,
                    "train_switch": trained or SWITCHES[0],
                }
                noise = 0.002 * rng.standard_normal()
                for metric in (NLL, SELECT, FD):
                    for i in range(SETS):
                        value = level + noise + of_set[i] + 0.001 * rng.standard_normal()
                        rows.append(
                            shared | {"metric": metric, "set": i, "value": value, "count": 50}
                        )
                kv = 1000.0 if used is None else 500.0 + 100 * used
                for metric in ("kv_bytes/peak", "kv_bytes/analytic", "flops/transformer"):
                    rows.append(shared | {"metric": metric, "set": None, "value": kv, "count": 0})
    return checked_frame(pd.DataFrame(rows), training=True)


def test_maps_and_losses_find_what_was_planted():
    frame, metric = planted(), parse_metric(NLL)
    assert trained_at(frame) == {n: f"switch {n}" for n in SWITCHES}
    found = transfer_map(frame, metric, 4)
    wanted = [[0.1 * abs(n - m) for m in SWITCHES] for n in SWITCHES]
    np.testing.assert_allclose(found.values, wanted, atol=0.01)
    off = ~np.eye(3, dtype=bool)
    assert found.significant[off].all() and not found.significant[~off].any()
    assert found.tests == 6
    losses = switch_losses(frame, metric, (4,))
    assert [x.switch for x in losses] == list(SWITCHES)
    np.testing.assert_allclose([x.loss.estimate for x in losses], [0.2, 0.1, 0.0], atol=0.01)
    np.testing.assert_allclose([x.kv_share for x in losses], [0.6, 0.7, 0.8])
    assert [x.acceptable for x in losses] == [False, False, True]
    assert earliest(losses, 4).switch == 3
    assert earliest(losses, 2) is None


def test_no_mismatch_is_no_finding_and_an_early_dip_is_not_the_earliest_switch():
    frame, metric = planted(mismatch=0.0, loss=lambda n: {1: 0.0, 2: 0.2, 3: 0.0}[n]), NLL
    found = transfer_map(frame, parse_metric(metric), 4)
    assert not found.significant.any()
    assert earliest(switch_losses(frame, parse_metric(metric), (4,)), 4).switch == 3


def test_models_that_did_not_finish_are_marked():
    frame = planted()
    bad = (frame["schedule"] == "switch 2") & (frame["cell"] == "d4@3")
    frame = frame.astype({"value": "float64"})
    frame.loc[bad, "status"] = "failed"
    found = transfer_map(frame, parse_metric(NLL), 4)
    assert found.failed[1, 2]
    assert np.isnan(found.values[1, 2])


@pytest.fixture(scope="module")
def finished(quick_workspace):
    flags = SwitchFlags(
        workspace=quick_workspace, quick=True, switches="0,3", depths="2", workers=2
    )
    paths = Switch(flags, "test").run()
    return quick_workspace / "switch-quick", paths


def test_the_study_end_to_end(finished):
    folder, paths = finished
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["schedule"]) == {"control", "switch 0", "switch 3"}
    assert set(frame["status"]) == {"finished"}
    answer = json.loads(paths.answer.read_text())
    assert answer["trained_at"] == {"0": "switch 0", "3": "switch 3"}
    assert "training elsewhere costs in" in paths.verdict
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {"transfer_nll", "transfer_fd", "switch_nll", "switch_fd", "samples"} <= names
    runs = finished_runs(folder.parent, "switch-quick")
    assert {"control s0", "switch 0 s0", "switch 3 s0"} <= {run.info.run_name for run in runs}
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"switches": "5"}, "--switches 5: the network has 5 scales; use 0 to 4"),
        ({"switches": "x"}, "--switches x: the network has 5 scales"),
        ({"schedule": "full"}, "--schedule full: use one of fixed"),
        ({"share": 0.0}, "--share 0: must be above 0"),
        ({"budget": "10"}, "--budget 10: below one batch"),
        ({"seeds": "1,1"}, "--seeds 1,1: 1 given twice"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    with pytest.raises(SystemExit) as ended, exit_codes():
        Switch(SwitchFlags(workspace=tmp_path / "runs", **flags), "test").run()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()

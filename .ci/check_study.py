"""Exit with 1 unless a workspace holds a whole quick sensitivity study."""

import sys
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

workspace = Path(sys.argv[1])
folder = workspace / "sensitivity-quick"
frame = pd.read_parquet(folder / "frame.parquet")
assert (frame["status"] == "finished").all(), "a cell did not finish"
cells = frame["cell_digest"].nunique()
assert cells > 20, f"{cells} cells"
assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
assert (folder / "report.pdf").stat().st_size > 10_000
for kind in ("svg", "png"):
    assert len(list((folder / "figures").glob(f"*.{kind}"))) >= 5, f"too few {kind} figures"

client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
experiment = client.get_experiment_by_name("sensitivity-quick")
runs = client.search_runs([experiment.experiment_id], max_results=1000)
parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
assert len(parents) == 1, f"{len(parents)} parent runs"
assert len(runs) == 1 + cells, f"{len(runs) - 1} child runs for {cells} cells"
assert all(run.info.status == "FINISHED" for run in runs), "a run is not FINISHED"
names = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
assert {"report.pdf", "figures"} <= names, f"artifacts {names}"
print(f"checked: {cells} cells, report, figures and {len(runs)} MLflow runs")

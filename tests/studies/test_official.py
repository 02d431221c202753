"""Official weights, a folder of images, Inception features and ADM's statistics: one command."""

import json

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from image_files import paint
from inception_stand_in import StandIn, saved
from study_commands import Command

from analysis.study_file import COMMON_BLOCK
from studies.grid.bench import plan_bench, prepare_bench
from studies.grid.point import splits_of
from studies.pareto import Pareto, ParetoConfig
from studies.running.executors import InlineExecutor
from studies.sensitivity import Sensitivity, SensitivityConfig
from varant import files
from varant.evaluation import inception as inception_module
from varant.evaluation.inception import InceptionExtractor
from varant.store.workspace import Workspace

SHARED = ("vae", "var", "dataset", "data_path", "extractor", "inception", "reference", "samples")
SPLITS = ("train", "mirrored", "select", "test", "real")
FEATURES = 16  # of the stand-in; the distance of 2048 takes 15 s a set


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_the_paper_s_path(tmp_path, monkeypatch, request):
    monkeypatch.setattr(inception_module, "INCEPTION_FEATURES", FEATURES)
    monkeypatch.setattr(InceptionExtractor, "features", FEATURES)
    vae, var = reference.official_files("tiny", tmp_path)
    weights = torch.load(var, weights_only=True)  # random ones are worse than a uniform guess
    torch.save({n: t * (not n.startswith("head.")) for n, t in weights.items()}, var)
    for split, first, count in (("train", 0, 4), ("val", 4, 8)):
        for label in range(10):
            for i in range(first, first + count):
                path = tmp_path / "photos" / split / f"n{label:02d}" / f"{i:02d}.png"
                paint(path, (40, 36), seed=i)
    torch.manual_seed(0)
    network = saved(StandIn(FEATURES), tmp_path / "inception.pt")
    rng = np.random.default_rng(0)
    real = rng.standard_normal((100, FEATURES))
    np.savez(tmp_path / "adm.npz", mu=real.mean(0), sigma=np.cov(real, rowvar=False))
    official = Command(
        study=Pareto,
        config=ParetoConfig,
        flags={
            "vae": vae,
            "var": var,
            "dataset": "folder",
            "data_path": tmp_path / "photos",
            "extractor": "inception",
            "inception": network,
            "reference": tmp_path / "adm.npz",
            "budget": 64,
            "batch": 8,
            "schedules": "full,fixed,progressive",
            "shares": 1,
            "depths": 1,
            "samples": 40,
            "sample_batch": 16,
            "cfg": 1.5,
            "top_k": 900,
            "top_p": 0.96,
        },
    )
    workspace, hashed = tmp_path / "runs", []
    real_hash = files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: hashed.append(path) or real_hash(path))
    official.of(workspace=workspace, dry_run=True).run()
    assert not hashed, "a dry run reads headers"
    assert official.run(workspace).pdf.exists()
    assert sorted(hashed) == sorted([vae.resolve(), var.resolve()]), "once each"
    folder = workspace / "pareto"
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["status"]) == {"finished"}
    blind, name = sorted({m for m in frame["metric"] if m.startswith(("fid/", "fd/"))})
    assert name.startswith("fid/inception-") and name.endswith("/n40")
    assert blind.startswith("fd/patches-"), "statistics know no classes of any data set"
    assert not any(m.startswith(("kid/inception", "class_acc")) for m in frame["metric"])
    shared = set(frame.loc[frame["group"] >= COMMON_BLOCK, "metric"])
    assert {blind, "nll/mean"} <= shared and name not in shared, "statistics have no blocks"
    facts = json.loads((folder / "study.json").read_text())
    assert facts["lr"] == pytest.approx(1e-6), "the paper's rate"
    assert facts["model"] == "var.pth"
    assert list(folder.glob("plan-kv*.json"))
    tokenised = lambda folder: {s for s in SPLITS if [*folder.glob(f"tokens/*/{s}.json")]}  # noqa: E731
    assert tokenised(workspace) == {"train", "select", "test", "real"}
    assert [*workspace.glob("tokens/*/psnr.json")]
    before = {p: p.stat().st_mtime_ns for p in workspace.glob("cells/*/result.json")}
    request.getfixturevalue("undrawn")
    monkeypatch.setattr("varant.start.sources.reconstruction_psnr", None)  # measured, and noted
    official.run(workspace)
    assert before == {p: p.stat().st_mtime_ns for p in workspace.glob("cells/*/result.json")}
    # What trains nothing reads no training images: of ImageNet they are days of a CPU.
    data = {k: v for k, v in official.flags.items() if k in SHARED}
    given = Command(study=Sensitivity, config=SensitivityConfig, flags=data)
    study, other = given.of(workspace=tmp_path / "other"), Workspace(folder=tmp_path / "other")
    planned = plan_bench(study.config)
    splits = splits_of(study.points(planned, None))
    prepare_bench(planned, study.config, other, InlineExecutor(), splits)
    assert tokenised(other.folder) == {"test", "real"}

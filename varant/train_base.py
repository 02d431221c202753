"""Make a base network of the package, or make one again.

    python -m varant.train_base --preset small --seed 0

Trains by the preset's recipe (`varant/presets.toml`): a tokenizer, unless the package has one, and
the network of a training seed; killed, the same command goes on.
Then it puts the network into `varant/start/weights/` in half precision, with digest, recipe and the
course of the training, and says how that converged: how far select NLL still fell over the last
fifth of the steps before the rate decays, and how far it ends above train NLL. Of a network that
the package had, it says whether the weights are the same to the bit, or else what NLL differs by.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from varant.errors import UserError, exit_codes, require_writable
from varant.flags import OutFolder, Seed, flags_of
from varant.presets import PresetName, presets

if TYPE_CHECKING:
    from varant.model.transformer import VAR
    from varant.start.package import Package
    from varant.start.sources import Resolved, Start

EVALUATIONS = 20  # on select images, along the training
COMPARED_IMAGES = 2_500  # of a split, when it is finished


@dataclass(frozen=True, kw_only=True)
class BaseTrainingConfig:
    preset: PresetName = "small"
    """Whose sizes and recipe the network has."""
    seed: Seed = 0
    """Training seed; the unit of this number starts from the network."""
    workspace: OutFolder = Path("runs")
    """Folder whose tokenizer and tokens it shares, and where its training goes on if stopped."""
    device: str = "cpu"
    """cpu, cuda or cuda:0; with --seed and torch's version, it decides the bits."""
    out: OutFolder | None = None
    """Folder to put it in; default: the package's."""

    def check(self) -> None:
        if presets()[self.preset].base.lr_schedule != "wsd":
            raise UserError(
                f"--preset {self.preset}: its rate decays from the first step, and nothing says "
                "whether its networks converge; use small"
            )


def main(config: BaseTrainingConfig) -> None:
    import torch

    from varant.devices import check_device, repeatable
    from varant.files import locked
    from varant.progress import progress_bar
    from varant.start.config import DataConfig, StartConfig
    from varant.start.package import WEIGHTS, Package
    from varant.start.sources import materialise, resolve
    from varant.store.workspace import Workspace

    check_device(config.device)
    out = config.out or WEIGHTS
    require_writable("--out", out)
    torch.set_num_threads(1)
    start = StartConfig(preset=config.preset, base="train")
    resolved = resolve(start, DataConfig(), seeds=(config.seed,))
    assert resolved.base is not None
    had = Package.of(config.preset, out)
    tokenizer = None if had is None else replace(had, bases={})
    base = replace(resolved.base, evaluations=EVALUATIONS)
    resolved = replace(resolved, base=base, package=tokenizer)
    workspace = Workspace(folder=config.workspace)
    splits = "train", "select"
    with repeatable(config.device):
        made = materialise(resolved, workspace, progress_bar, device=config.device, splits=splits)
    with locked(workspace.folder / ".package.lock"):  # networks may finish at once
        had = Package.of(config.preset, out)
        facts = put(made, config.preset, out, config.device)
        print(f"{config.preset} seed {config.seed}: {said(facts)}{compared(had, made, facts)}")


def put(start: Start, preset: PresetName, out: Path, device: str) -> dict[str, Any]:
    """Put the first network of `start`, which is on `device`, into the package at `out`; its facts
    there."""
    import torch

    from varant.devices import device_name
    from varant.files import write_json
    from varant.start.package import FORMAT, Package
    from varant.start.preparation import tokenizer_recipe
    from varant.store.checkpoint import load, write_tensors

    network, package = start.networks[0], Package.of(preset, out)
    tokenizer, model = load(network.folder)
    if package is None:
        base, dataset = start.resolved.base, start.resolved.dataset
        assert base is not None
        of_tokenizer = {"psnr_db": start.psnr_db, "recipe": tokenizer_recipe(base, dataset)}
        package = Package(name=preset, folder=out, tokenizer_facts=of_tokenizer, bases={})
        of_tokenizer["sha256"] = write_tensors(package.tokenizer_file(), tokenizer.state_dict())
    halves = {name: tensor.half() for name, tensor in model.state_dict().items()}
    facts: dict[str, Any] = {"sha256": write_tensors(package.base_file(network.seed), halves)}
    model.load_state_dict({name: tensor.float() for name, tensor in halves.items()})
    model.to(device)
    facts |= {
        "trained_sha256": network.sha256,
        "torch": torch.__version__,
        "machine": device_name(device),
        **course(network.folder, start.resolved),
        **{f"{split}_nll": nll(start, model, split) for split in ("train", "select")},
    }
    bases = dict(sorted((package.bases | {network.seed: facts}).items()))
    content = FORMAT | {"tokenizer": package.tokenizer_facts, "bases": bases}
    write_json(out / f"{preset}.json", content)
    return facts


def course(folder: Path, resolved: Resolved) -> dict[str, Any]:
    """How the training in `folder` went: its recipe, and select NLL by images seen."""
    import numpy as np

    from varant.training.config import DECAY_SHARE, SELECT_NLL
    from varant.training.run import read_metrics

    assert resolved.base is not None
    nll = f"{SELECT_NLL}full"
    curve = [(line["images_seen"], line[nll]) for line in read_metrics(folder) if nll in line]
    decays = (1 - DECAY_SHARE) * resolved.base.training.image_passes
    images, nlls = np.array([point for point in curve if point[0] <= decays]).T
    before, at = np.interp([0.8 * decays, decays], images, nlls)  # at most: the last one before
    return {
        "plateau_nats": float(before - at),
        "curve": curve,
        "recipe": recipe_of_training(resolved),
    }


def recipe_of_training(resolved: Resolved) -> dict[str, Any]:
    """All that a network is a function of, beside tokens and seed."""
    assert resolved.base is not None
    recipe = {"geometry": asdict(resolved.base.geometry)} | resolved.base.training.as_dict()
    return {name: value for name, value in recipe.items() if name != "seed"}


def nll(start: Start, model: VAR, split: str) -> float:
    """Of the split's first images, in nats a token, at full depth."""
    from varant.data.tokens import read_split
    from varant.evaluation.likelihood import mean_nll, nll_per_scale

    tokens = read_split(start.tokens_folder, split)
    per_scale_NK = nll_per_scale(model, start.tokenizer, tokens, images=COMPARED_IMAGES)
    return float(mean_nll(per_scale_NK, model.patch_nums).mean())


def said(facts: dict[str, Any]) -> str:
    """How a network converged, in words."""
    return (
        f"NLL {facts['select_nll']:.4f} nats a token on {COMPARED_IMAGES:,} select images, "
        f"{facts['select_nll'] - facts['train_nll']:+.4f} against as many of train; fell by "
        f"{facts['plateau_nats']:.4f} over the last fifth before the rate decays"
    )


def compared(had: Package | None, start: Start, facts: dict[str, Any]) -> str:
    """How the network differs from the one that the package had, in words."""
    seed = start.networks[0].seed
    if had is None or seed not in had.bases:
        return ""
    if had.bases[seed]["trained_sha256"] == facts["trained_sha256"]:
        return "; the same bits as the packaged one"
    differs = facts["select_nll"] - had.bases[seed]["select_nll"]
    return f"; NLL differs by {differs:+.4f} from the packaged one's"


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(BaseTrainingConfig, __doc__))

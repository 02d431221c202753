"""The base networks that come with the package, and the tokenizer whose tokens they read.

    weights/small.json                    digests, and how each network came about
    weights/small-tokenizer.safetensors   float32, so that tokens are those of the training
    weights/small-0.safetensors           of training seed 0, in half precision

`python -m varant.train_base` makes them. Here they are checked and, once a workspace, unpacked
into checkpoints like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from varant.errors import UserError
from varant.files import digest_of, read_json, sha256_file
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.presets import Preset, presets
from varant.start.config import DataConfig, TrainStartConfig
from varant.start.presets import base_geometry, light_tokenizer
from varant.store.checkpoint import (
    CONFIG_FILE,
    LoadedModel,
    check_names,
    load_tokenizer,
    read_tensors,
    save,
    shapes,
    shapes_of_var,
)
from varant.store.workspace import Workspace

WEIGHTS = Path(__file__).parent / "weights"
FORMAT: dict[str, object] = {"format": "varant-bases", "version": 1}


@dataclass(frozen=True, kw_only=True)
class Package:
    """Tokenizer and base networks of a preset.

    Attributes:
        name: of the preset.
        tokenizer_facts: digest (`sha256`), reconstruction (`psnr_db`) and recipe.
        bases: by training seed, the facts that `varant.train_base` wrote: digest, recipe, course
            of the training.
    """

    name: str
    folder: Path
    tokenizer_facts: dict[str, Any]
    bases: dict[int, dict[str, Any]]

    @classmethod
    def of(cls, name: str, folder: Path | None = None) -> Package | None:
        """A preset's; None where none is packaged."""
        folder = folder or WEIGHTS
        path = folder / f"{name}.json"
        if not path.exists():
            return None
        content = read_json(path, FORMAT)
        bases = {int(seed): facts for seed, facts in content["bases"].items()}
        return cls(name=name, folder=folder, tokenizer_facts=content["tokenizer"], bases=bases)

    @property
    def preset(self) -> Preset:
        return presets()[self.name]

    def tokenizer_file(self) -> Path:
        return self.folder / f"{self.name}-tokenizer.safetensors"

    def base_file(self, seed: int) -> Path:
        return self.folder / f"{self.name}-{seed}.safetensors"

    def unpacked_tokenizer(self, workspace: Workspace) -> Path:
        """The checkpoint folder of the tokenizer; `UserError` if the packaged file is damaged."""
        facts = self.tokenizer_facts
        folder = workspace.model(digest_of({"packaged": facts["sha256"]}))
        if not (folder / CONFIG_FILE).exists():
            save(folder, self._tokenizer(), note={"psnr_db": facts["psnr_db"]})
        return folder

    def unpacked_base(self, seed: int, workspace: Workspace) -> Path:
        """The checkpoint folder of a network in float32; `UserError` as for the tokenizer."""
        digests = [facts["sha256"] for facts in (self.tokenizer_facts, self.bases[seed])]
        folder = workspace.model(digest_of({"packaged": digests}))
        if not (folder / CONFIG_FILE).exists():
            note = {"packaged": f"{self.name}, seed {seed}"}
            save(
                folder,
                load_tokenizer(self.unpacked_tokenizer(workspace)),
                self._base(seed),
                note=note,
            )
        return folder

    def load(self, seed: int) -> LoadedModel:
        return LoadedModel(tokenizer=self._tokenizer(), model=self._base(seed))

    def _tokenizer(self) -> Tokenizer:
        tokenizer = Tokenizer(light_tokenizer(self.preset))
        state = self._read(
            self.tokenizer_file(), self.tokenizer_facts, shapes(tokenizer.state_dict())
        )
        tokenizer.load_state_dict(state)
        return tokenizer.eval()

    def _base(self, seed: int) -> VAR:
        geometry = base_geometry(self.preset)
        state = self._read(self.base_file(seed), self.bases[seed], shapes_of_var(geometry))
        return VAR.from_state(geometry, state).eval()

    def _read(self, path: Path, facts: dict[str, Any], expected: dict[str, tuple[int, ...]]) -> Any:
        try:
            digest = sha256_file(path)
        except OSError as error:
            digest = f"none ({error.strerror})"
        if digest != facts["sha256"]:
            raise UserError(
                f"{path}: SHA-256 {digest[:6]}, not {facts['sha256'][:6]}; install varant again"
            )
        state = {name: tensor.float() for name, tensor in read_tensors(path).items()}
        check_names(state, expected, path)
        return state


def package_of(
    flags: TrainStartConfig, data: DataConfig, seeds: Sequence[int], quick: bool
) -> Package | None:
    """The package, where what it has is what the flags start from; `UserError` where it has not,
    under `--base packaged`."""
    if flags.base == "train" or flags.model is not None or flags.vae is not None:
        return None
    others = {
        "--quick": quick,
        f"--dataset {data.dataset}": data.dataset != "shapes",
        "--base-budget": flags.base_budget is not None,
        "--patch-nums": flags.patch_nums is not None,
    }
    preset, named = flags.preset_name(quick), [flag for flag, given in others.items() if given]
    found = Package.of(preset)
    had = () if found is None else tuple(found.bases)
    missing = [str(seed) for seed in seeds if seed not in had]
    if flags.base == "packaged" and (named or missing):
        why = f"the package has {', '.join(map(str, had)) or 'none'} of preset {preset}"
        why = f"{named[0]} asks for others" if named else f"{why}, not {', '.join(missing[:3])}"
        raise UserError(f"--base packaged: {why}; use --base train")
    return None if named else found

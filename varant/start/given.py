"""Networks that are there: in a checkpoint of ours, in published files, or in the package.

To draw images is to load one as it is. What trains or measures takes its checkpoint folder
(`varant.start.sources`), into which a workspace turns published files once.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from varant.errors import UserError
from varant.files import digest_of, sha256_once
from varant.model.geometry import OFFICIAL_PATCH_NUMS_256
from varant.presets import DEFAULT
from varant.start.config import NetworkConfig, PackagedConfig
from varant.start.package import WEIGHTS, Package
from varant.store import checkpoint
from varant.store.checkpoint import CONFIG_FILE, TOKENIZER_FILE, LoadedModel, Sizes
from varant.store.official import load_official, load_official_tokenizer, official_sizes
from varant.store.workspace import Workspace


@dataclass(frozen=True)
class OwnCheckpoint:
    """A checkpoint folder of ours (`--model`), or the tokenizer in one (`--vae`).

    `sizes` are read off headers; `UserError` for what cannot be read or does not fit. The same
    members has a network in published files.
    """

    path: Path
    tokenizer_alone: bool = False

    @property
    def description(self) -> str:
        return self.path.name if self.tokenizer_alone else f"checkpoint {self.path.name}"

    @property
    def digests(self) -> dict[str, str]:
        return dict(checkpoint.read_config(self.path)["sha256"])

    @property
    def tokenizer_sha256(self) -> str:
        return self.digests[TOKENIZER_FILE]

    @property
    def sizes(self) -> Sizes:
        if self.tokenizer_alone:
            return Sizes(checkpoint.read_tokenizer_sizes(self.path), None)
        return checkpoint.read_sizes(self.path)

    def folder(self, workspace: Workspace) -> Path:
        return self.path

    def load(self) -> LoadedModel:
        return checkpoint.load(self.path)


@dataclass(frozen=True)
class Published:
    """An official checkpoint; from scratch its tokenizer alone, which is used at `sides`."""

    vae: Path
    var: Path | None
    sides: tuple[int, ...]

    @property
    def description(self) -> str:
        return (self.var or self.vae).name

    @property
    def digests(self) -> dict[str, str]:
        files = {"vae": self.vae, "var": self.var}
        return {name: sha256_once(path) for name, path in files.items() if path is not None}

    @property
    def tokenizer_sha256(self) -> str:
        return sha256_once(self.vae)

    @cached_property
    def sizes(self) -> Sizes:
        return official_sizes(self.vae, self.var, self.sides)

    def folder(self, workspace: Workspace) -> Path:
        """A checkpoint of ours with the same weights, made once."""
        identity = {**self.digests, "sides": self.sizes.tokenizer.patch_nums}
        folder, alone = workspace.model(digest_of(identity)), self.var is None
        if not (folder / CONFIG_FILE).exists():
            made = [load_official_tokenizer(self.vae, self.sides)] if alone else self.load()
            checkpoint.save(folder, *made, note={"identity": identity})
        return folder

    def load(self) -> LoadedModel:
        assert self.var is not None, "a tokenizer alone is for a start from scratch"
        return load_official(vae=self.vae, var=self.var)


Given = OwnCheckpoint | Published


@dataclass(frozen=True)
class Packaged:
    """A base network of the package, by its training seed."""

    package: Package
    seed: int

    @property
    def digests(self) -> dict[str, str]:
        facts = {"tokenizer": self.package.tokenizer_facts, "base": self.package.bases[self.seed]}
        return {name: fact["sha256"] for name, fact in facts.items()}

    def load(self) -> LoadedModel:
        return self.package.load(self.seed)


def given_of(files: NetworkConfig, sides: tuple[int, ...] | None = None) -> Given | None:
    """What `--model`, or `--vae` and `--var`, name; None where they name nothing.

    Args:
        sides: of the token maps that a tokenizer from scratch is used at (`--patch-nums`).

    Raises:
        UserError: files of the hub that are not here, or a folder whose sides are others.
    """
    files = files.fetched()
    if files.model is not None:
        return OwnCheckpoint(files.model)
    if files.vae is None:
        return None
    if not files.vae.is_dir():
        return Published(files.vae, files.var, sides or OFFICIAL_PATCH_NUMS_256)
    if files.var is not None:
        raise UserError(f"--vae {files.vae}: a folder; --var {files.var} needs the published file")
    tokenizer = OwnCheckpoint(files.vae, tokenizer_alone=True)
    own = tokenizer.sizes.tokenizer.patch_nums
    if sides not in (None, own):
        shown = ",".join(map(str, own))
        raise UserError(f"--patch-nums: --vae {files.vae} has {shown} of its own; drop the flag")
    return tokenizer


def network_of(files: PackagedConfig) -> Given | Packaged:
    """What flags name, else the package's first; `UserError` for a preset that it has not."""
    if (given := given_of(files)) is not None:
        return given
    name = files.preset or DEFAULT
    package = Package.of(name)
    if package is None:
        packaged = ", ".join(sorted(path.stem for path in WEIGHTS.glob("*.json")))
        raise UserError(
            f"--model: no network of preset {name} is packaged; give a checkpoint folder, --vae "
            f"and --var, or --preset {packaged}"
        )
    return Packaged(package, min(package.bases))

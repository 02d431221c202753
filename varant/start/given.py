"""The network that flags name, or the package's."""

from varant.errors import UserError
from varant.files import sha256_once
from varant.presets import DEFAULT
from varant.start.config import PackagedConfig
from varant.start.package import WEIGHTS, Package
from varant.store import checkpoint
from varant.store.checkpoint import LoadedModel
from varant.store.official import load_official


def load_given(files: PackagedConfig) -> LoadedModel:
    """Tokenizer and network that `--model`, or `--vae` and `--var`, name; else the package's first.
    `UserError` for files that cannot be read, or a preset of which none is packaged."""
    files = files.fetched()
    if files.model is not None:
        return checkpoint.load(files.model)
    if files.vae is not None and files.var is not None:
        return load_official(vae=files.vae, var=files.var)
    name = files.preset or DEFAULT
    package = Package.of(name)
    if package is None:
        packaged = ", ".join(sorted(path.stem for path in WEIGHTS.glob("*.json")))
        raise UserError(
            f"--model: no network of preset {name} is packaged; give a checkpoint folder, --vae "
            f"and --var, or --preset {packaged}"
        )
    return package.load(min(package.bases))


def digests_of(files: PackagedConfig) -> dict[str, str]:
    """SHA-256 of tokenizer and network that `load_given` reads."""
    files = files.fetched()
    if files.model is not None:
        return dict(checkpoint.read_config(files.model)["sha256"])
    if files.vae is not None and files.var is not None:
        return {"vae": sha256_once(files.vae), "var": sha256_once(files.var)}
    package = Package.of(files.preset or DEFAULT)
    assert package is not None
    facts = (package.tokenizer_facts, package.bases[min(package.bases)])
    return {path: fact["sha256"] for path, fact in zip(("tokenizer", "base"), facts, strict=True)}

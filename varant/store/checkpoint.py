"""Checkpoints of ours: one folder of safetensors and JSON, digests within."""

import hashlib
import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from varant.errors import UserError
from varant.files import read_json, replacing, sha256_file, write_json
from varant.manifest import Damaged, record, verified
from varant.model.cost import parameter_count
from varant.model.geometry import Geometry
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR

FORMAT: dict[str, object] = {"format": "varant-checkpoint", "version": 1}
CONFIG_FILE, MODEL_FILE = "config.json", "model.safetensors"
TOKENIZER_FILE = "tokenizer.safetensors"

# Types of tensors in a safetensors file, in the order that the file has them in.
TYPE_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

T = TypeVar("T")


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> str:
    """Write a safetensors file atomically; SHA-256 of what was written, which is not read again.

    The bytes are the library's, whose `save_file` copies all tensors first and hashes none.
    """
    order = list(TYPE_NAMES)
    names = sorted(tensors, key=lambda name: (order.index(tensors[name].dtype), name))
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name in names:
        begin, end = end, end + tensors[name].nbytes
        kind, shape = TYPE_NAMES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with replacing(path) as aside, aside.open("wb") as file:
        start: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text]
        for part in itertools.chain(start, (_bytes_of(tensors[name]) for name in names)):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _bytes_of(tensor: Tensor) -> memoryview:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().data


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    The tensors are copied out of the mapped file, where they are not aligned: the results of
    vector code differ in the last bit with alignment.
    """
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


class LoadedModel(NamedTuple):
    """A tokenizer and a network that belong together."""

    tokenizer: Tokenizer
    model: VAR


def save(
    folder: str | Path,
    tokenizer: Tokenizer,
    model: VAR | None = None,
    *,
    note: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint of ours: safetensors files, then `config.json` with their digests.

    The config is written last, so a folder that has one is whole.

    Args:
        model: None writes the tokenizer alone, which `load_tokenizer` reads.
        note: JSON-ready facts to keep beside the weights (how they were trained).
    """
    folder = Path(folder)
    modules: dict[str, nn.Module] = {TOKENIZER_FILE: tokenizer}
    if model is not None:
        modules[MODEL_FILE] = model
    sha256 = {name: write_tensors(folder / name, m.state_dict()) for name, m in modules.items()}
    content = FORMAT | {
        "geometry": asdict(model.geometry) if model is not None else None,
        "tokenizer": asdict(tokenizer.config),
        "sha256": sha256,
        "note": note or {},
    }
    write_json(folder / CONFIG_FILE, content)
    record(folder / CONFIG_FILE)


def read_config(folder: str | Path) -> dict[str, Any]:
    """The `config.json` of a checkpoint of ours; `UserError` where there is none.

    It may be from anywhere: what it says is taken as a size only within bounds, and before anything
    is made of it (`read_sizes`); of its note `noted` takes what is there.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        content = read_json(
            verified(path, "put it back, or delete it and run again", listed=False), FORMAT
        )
        if not {"geometry", "tokenizer", "sha256"} <= content.keys():
            raise ValueError("incomplete")
        return content
    except OSError as error:
        raise UserError(
            f"checkpoint {folder}: no {CONFIG_FILE} ({error.strerror}); name a folder that "
            "varant.save or varant.train wrote"
        ) from None
    except Damaged:
        raise
    except ValueError:
        raise UserError(f"checkpoint {path}: not a varant-checkpoint config of version 1") from None


def noted(content: dict[str, Any], *keys: str) -> Any:
    """What the note beside a checkpoint's weights says under these keys, one in another; None where
    it does not."""
    found: Any = content.get("note")
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


class Sizes(NamedTuple):
    """What a checkpoint is of, without its weights. `geometry` is None for a tokenizer alone."""

    tokenizer: TokenizerConfig
    geometry: Geometry | None


def read_sizes(folder: str | Path) -> Sizes:
    """The sizes in a checkpoint of ours; `UserError` where there is none, or none of a network."""
    geometry, tokenizer = _read_geometry(folder), read_tokenizer_sizes(folder)
    _check_fit(folder, tokenizer, geometry)
    if (Path(folder) / MODEL_FILE).is_file():
        _check_bytes(folder, geometry)
    return Sizes(tokenizer=tokenizer, geometry=geometry)


def read_tokenizer_sizes(folder: str | Path) -> TokenizerConfig:
    """Of the tokenizer in a checkpoint of ours; `UserError` where there is none."""
    return _read_sizes(TokenizerConfig, "tokenizer", folder)


def _read_geometry(folder: str | Path) -> Geometry:
    if read_config(folder)["geometry"] is None:
        raise UserError(f"checkpoint {folder}: a tokenizer without a network")
    return _read_sizes(Geometry, "geometry", folder)


def _read_sizes(kind: Callable[..., T], field: str, folder: str | Path) -> T:
    content = read_config(folder)
    try:
        return kind(**content[field])
    except (TypeError, ValueError) as error:
        path = Path(folder) / CONFIG_FILE
        raise UserError(f"checkpoint {path}: {field} makes no sense ({error})") from None


def _check_bytes(folder: str | Path, geometry: Geometry) -> None:
    """Weights have a byte a parameter at least: larger sizes are not theirs."""
    parameters, size = parameter_count(geometry), (Path(folder) / MODEL_FILE).stat().st_size
    if parameters > size:
        raise UserError(
            f"checkpoint {Path(folder) / CONFIG_FILE}: geometry is of {parameters:,} parameters, "
            f"{MODEL_FILE} has {size:,} bytes; put the file back"
        )


def _check_fit(folder: str | Path, tokenizer: TokenizerConfig, geometry: Geometry) -> None:
    for field in ("patch_nums", "vocab_size", "code_channels"):
        if getattr(tokenizer, field) != getattr(geometry, field):
            path = Path(folder) / CONFIG_FILE
            raise UserError(
                f"checkpoint {path}: {field} of tokenizer and network differ; put the file back"
            )


def load(folder: str | Path) -> LoadedModel:
    """Read a checkpoint of ours, on the CPU; `tokenizer, model = varant.load(folder)`.

    Raises:
        UserError: no checkpoint there, or a file of it is missing, damaged or foreign.
    """
    geometry, tokenizer = _read_geometry(folder), load_tokenizer(folder)
    state = _read_floats(Path(folder) / MODEL_FILE)
    _check_bytes(folder, geometry)
    check_names(state, shapes_of_var(geometry), Path(folder) / MODEL_FILE)
    _check_fit(folder, tokenizer.config, geometry)
    return LoadedModel(tokenizer=tokenizer, model=VAR.from_state(geometry, state).eval())


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint of ours, on the CPU; raises `UserError` as `load`."""
    config, path = read_tokenizer_sizes(folder), Path(folder) / TOKENIZER_FILE
    state = _read_floats(path)
    with torch.device("meta"):  # of what size it would be
        expected = shapes(Tokenizer(config).state_dict())
    check_names(state, expected, path)
    tokenizer = Tokenizer(config)
    tokenizer.load_state_dict(state)
    return tokenizer.eval()


def _read_floats(path: Path) -> dict[str, Tensor]:
    """What a file of the digest that the config beside it has holds; `UserError` for another."""
    try:
        if sha256_file(path) != read_config(path.parent)["sha256"][path.name]:
            raise UserError(
                f"{path}: damaged (its SHA-256 is not the one in {CONFIG_FILE}); put the file "
                f"back, or delete {path.parent} if a command made it, which makes it again"
            )
        state = read_tensors(path)
    except UserError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if whole := [name for name, tensor in state.items() if not tensor.is_floating_point()]:
        raise UserError(f"{path}: {whole[0]} holds no floating-point numbers; put the file back")
    return state


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor by its name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def shapes_of_var(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(VAR(geometry).state_dict())


def check_names(
    state: dict[str, Tensor], expected: dict[str, tuple[int, ...]], path: str | Path
) -> None:
    """Raise `UserError` naming missing, surplus and misshapen tensors on one line."""
    have = shapes(state)
    troubles = {
        "missing": [n for n in expected if n not in have],
        "surplus": [n for n in have if n not in expected],
        "misshapen": [
            f"{n} {have[n]} instead of {shape}"
            for n, shape in expected.items()
            if n in have and have[n] != shape
        ],
    }
    parts = []
    for kind, names in troubles.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{kind} {', '.join(names[:3])}{more}")
    if parts:
        raise UserError(f"{path}: {'; '.join(parts)}")

"""Checkpoints: the official VAR files and our own folder, both ways."""

from __future__ import annotations

import json
import math
import pickle
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from varant.errors import UserError
from varant.files import replacing, sha256_file, write_json
from varant.geometry import Geometry
from varant.tokenizer import Tokenizer, TokenizerConfig
from varant.transformer import VAR, token_levels

FORMAT = "varant-checkpoint"
VERSION = 1
CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE = (
    "config.json",
    "model.safetensors",
    "tokenizer.safetensors",
)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A tokenizer and a network that belong together; unpacks as (tokenizer, model)."""

    tokenizer: Tokenizer
    model: VAR

    def __iter__(self):
        return iter((self.tokenizer, self.model))


def save(
    folder: str | Path,
    tokenizer: Tokenizer,
    model: VAR | None = None,
    *,
    note: dict | None = None,
) -> None:
    """Write a checkpoint of ours: safetensors files, then `config.json` with their digests.

    The config is written last, so a folder that has one is whole.

    Args:
        model: None writes the tokenizer alone, which `load_tokenizer` reads.
        note: JSON-ready facts to keep beside the weights (how they were trained).
    """
    folder = Path(folder)
    modules = {TOKENIZER_FILE: tokenizer} | ({MODEL_FILE: model} if model is not None else {})
    for name, module in modules.items():
        state = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
        with replacing(folder / name) as aside:
            save_file(state, aside)
    content = {
        "format": FORMAT,
        "version": VERSION,
        "geometry": model.geometry.as_dict() if model is not None else None,
        "tokenizer": tokenizer.config.as_dict(),
        "sha256": {name: sha256_file(folder / name) for name in modules},
        "note": note or {},
    }
    write_json(folder / CONFIG_FILE, content)


def read_config(folder: str | Path) -> dict:
    """The `config.json` of a checkpoint of ours.

    Raises:
        UserError: no such folder, or not a checkpoint of ours.
    """
    path = Path(folder) / CONFIG_FILE
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise KeyError("format")
        missing = {"geometry", "tokenizer", "sha256"} - content.keys()
        if missing:
            raise KeyError(missing.pop())
        return content
    except OSError as error:
        raise UserError(
            f"checkpoint {folder}: no {CONFIG_FILE} ({error.strerror}); name a folder that "
            "varant.save or varant.train wrote"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"checkpoint {path}: not a {FORMAT} config of version {VERSION}") from None


def load(folder: str | Path) -> LoadedModel:
    """Read a checkpoint of ours, on the CPU; `tokenizer, model = varant.load(folder)`.

    Raises:
        UserError: no checkpoint there, or a file of it is missing, damaged or foreign.
    """
    content = read_config(folder)
    if content["geometry"] is None:
        raise UserError(f"checkpoint {folder}: a tokenizer without a network")
    geometry = _from_config(Geometry, content, "geometry", folder)
    tokenizer = load_tokenizer(folder)
    state = _read_checked(Path(folder) / MODEL_FILE, content, _shapes_of_var(geometry))
    return LoadedModel(tokenizer=tokenizer, model=VAR.from_state(geometry, state).eval())


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read the tokenizer of a checkpoint of ours, on the CPU.

    Raises:
        UserError: as `load`.
    """
    content = read_config(folder)
    tokenizer = Tokenizer(_from_config(TokenizerConfig, content, "tokenizer", folder))
    shapes = _shapes(tokenizer.state_dict())
    tokenizer.load_state_dict(_read_checked(Path(folder) / TOKENIZER_FILE, content, shapes))
    return tokenizer.eval()


def _from_config(kind: type, content: dict, field: str, folder: str | Path):
    try:
        return kind(**content[field])
    except (TypeError, ValueError) as error:
        path = Path(folder) / CONFIG_FILE
        raise UserError(f"checkpoint {path}: {field} makes no sense ({error})") from None


def _read_checked(
    path: Path, content: dict, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    try:
        if sha256_file(path) != content["sha256"][path.name]:
            raise UserError(f"{path}: damaged (its SHA-256 is not the one in {CONFIG_FILE})")
        # Copied out of the mapped file: its tensors are not aligned, and the results of vector
        # code differ in the last bit with alignment.
        state = {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    _check_names(state, shapes, path)
    return state


def load_official(*, vae: str | Path, var: str | Path) -> LoadedModel:
    """Read the published checkpoints; the geometry is read off their tensors.

    Args:
        vae: the tokenizer's file (`vae_ch160v4096z32.pth`).
        var: the transformer's file (`var_d16.pth` ... `var_d36.pth`).

    Raises:
        UserError: a file that cannot be read, or tensors missing, surplus or misshapen (named).
    """
    var_state = _read_official(var)
    geometry = _official_geometry(var_state, var)
    buffers = _official_buffers(geometry)
    _check_names(var_state, _shapes_of_var(geometry) | _shapes(buffers), var)
    for name in buffers:
        if name.endswith("zero_k_bias") and var_state[name].any():
            raise UserError(f"{var}: {name} is not zero; VAR's keys have no bias")
    tokenizer = load_official_tokenizer(vae, geometry.patch_nums)
    if tokenizer.vocab_size != geometry.vocab_size:
        raise UserError(
            f"{vae}: {tokenizer.vocab_size} codes; {var} predicts {geometry.vocab_size}"
        )
    parameters = {k: v.float() for k, v in var_state.items() if k not in buffers}
    model = VAR.from_state(geometry, parameters)
    return LoadedModel(tokenizer=tokenizer, model=model.eval())


def load_official_tokenizer(vae: str | Path, patch_nums: tuple[int, ...]) -> Tokenizer:
    """Read the published tokenizer alone; its file does not say which scales it is used at.

    Raises:
        UserError: as `load_official`.
    """
    state = _read_official(vae)
    tokenizer = Tokenizer(_official_tokenizer_config(state, vae, patch_nums))
    _check_names(state, _shapes(tokenizer.state_dict()), vae)
    tokenizer.load_state_dict(state)
    return tokenizer.eval()


def save_official(tokenizer: Tokenizer, model: VAR, *, vae: str | Path, var: str | Path) -> None:
    """Write files that load into the reference implementation, strictly.

    Raises:
        UserError: a light tokenizer, which the reference does not have.
    """
    if tokenizer.config.backbone != "official":
        raise UserError(
            f"vae {vae}: the {tokenizer.config.backbone} tokenizer backbone has no official form; "
            "use varant.save"
        )
    var_state = model.state_dict() | _official_buffers(model.geometry)
    for path, state in ((vae, tokenizer.state_dict()), (var, var_state)):
        with replacing(Path(path)) as aside:
            torch.save({k: v.detach().cpu().contiguous() for k, v in state.items()}, aside)


def _read_official(path: str | Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (
        RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError,
        AssertionError, AttributeError, struct.error,
    ):  # fmt: skip
        raise UserError(f"{path}: truncated, or not a PyTorch checkpoint of tensors") from None
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise UserError(f"{path}: not a flat dictionary of tensors, as the published files are")
    return state


def _official_geometry(state: dict[str, Tensor], path: str | Path) -> Geometry:
    try:
        width = state["pos_start"].shape[-1]
        counts = torch.bincount(state["lvl_1L"].flatten()).tolist()
        return Geometry(
            depth=_count(state, r"blocks\.(\d+)\."),
            width=width,
            heads=state["blocks.0.attn.scale_mul_1H11"].shape[1],
            patch_nums=tuple(math.isqrt(count) for count in counts),
            vocab_size=state["head.weight"].shape[0],
            code_channels=state["word_embed.weight"].shape[1],
            num_classes=state["class_emb.weight"].shape[0] - 1,
            mlp_ratio=state["blocks.0.ffn.fc1.weight"].shape[0] // width,
            shared_adaln="shared_ada_lin.1.weight" in state,
        )
    except KeyError as missing:
        raise UserError(f"{path}: not an official VAR file: missing {missing.args[0]}") from None
    except (IndexError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{path}: not an official VAR file: misshapen ({error})") from None


def _official_tokenizer_config(
    state: dict[str, Tensor], path: str | Path, patch_nums: tuple[int, ...]
) -> TokenizerConfig:
    try:
        channels = state["encoder.conv_in.weight"].shape[0]
        levels = _count(state, r"encoder\.down\.(\d+)\.")
        outputs = [state[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
        vocab_size, code_channels = state["quantize.embedding.weight"].shape
        return TokenizerConfig(
            patch_nums=patch_nums,
            vocab_size=vocab_size,
            code_channels=code_channels,
            backbone="official",
            channels=channels,
            multipliers=tuple(width // channels for width in outputs),
            blocks=_count(state, r"encoder\.down\.0\.block\.(\d+)\."),
            phis=_count(state, r"quantize\.quant_resi\.qresi_ls\.(\d+)\."),
        )
    except KeyError as missing:
        raise UserError(f"{path}: not an official VAE file: missing {missing.args[0]}") from None
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"{path}: not an official VAE file: misshapen ({error})") from None


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """One more than the largest index that `pattern` finds in the names.

    At most one more than the number of indices: a stray name with a huge one is surplus, and must
    not make us build a network of that depth.
    """
    found = (re.match(pattern, name) for name in state)
    indices = {int(match[1]) for match in found if match}
    return min(max(indices, default=-1), len(indices)) + 1


def _official_buffers(geometry: Geometry) -> dict[str, Tensor]:
    """Buffers that the reference stores and that follow from the geometry."""
    level_L = token_levels(geometry)
    allowed_LL = level_L[:, None] >= level_L
    mask_LL = torch.zeros(allowed_LL.shape).masked_fill_(~allowed_LL, -torch.inf)
    buffers = {"lvl_1L": level_L[None], "attn_bias_for_masking": mask_LL[None, None]}
    for layer in range(geometry.depth):
        buffers[f"blocks.{layer}.attn.zero_k_bias"] = torch.zeros(geometry.width)
    return buffers


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _shapes_of_var(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return _shapes(VAR(geometry).state_dict())


def _check_names(
    state: dict[str, Tensor], expected: dict[str, tuple[int, ...]], path: str | Path
) -> None:
    """Raise `UserError` naming missing, surplus and misshapen tensors on one line."""
    have = _shapes(state)
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

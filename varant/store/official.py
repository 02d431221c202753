"""The published VAR checkpoints, both ways: files of the reference implementation."""

import math
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from varant.errors import UserError
from varant.files import replacing
from varant.model.geometry import Geometry
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR, token_levels
from varant.store.checkpoint import LoadedModel, Sizes, check_names, shapes, shapes_of_var


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
    check_names(var_state, shapes_of_var(geometry) | shapes(buffers), var)
    for name in buffers:
        if name.endswith("zero_k_bias") and var_state[name].any():
            raise UserError(f"{var}: {name} is not zero; VAR's keys have no bias")
    tokenizer = load_official_tokenizer(vae, geometry.patch_nums)
    if tokenizer.vocab_size != geometry.vocab_size:
        raise UserError(
            f"{vae}: {tokenizer.vocab_size} codes; {var} predicts {geometry.vocab_size}"
        )
    # Copied out of the mapped file: its tensors are not aligned, and the results of vector code
    # differ in the last bit with alignment.
    parameters = {
        k: v.to(torch.float32, copy=True) for k, v in var_state.items() if k not in buffers
    }
    model = VAR.from_state(geometry, parameters)
    return LoadedModel(tokenizer=tokenizer, model=model.eval())


def load_official_tokenizer(vae: str | Path, patch_nums: tuple[int, ...]) -> Tokenizer:
    """Read the published tokenizer alone; its file does not say which scales it is used at.

    Raises `UserError` as `load_official`.
    """
    state = _read_official(vae)
    tokenizer = Tokenizer(_official_tokenizer_config(state, vae, patch_nums))
    check_names(state, shapes(tokenizer.state_dict()), vae)
    tokenizer.load_state_dict(state)
    return tokenizer.eval()


def official_sizes(vae: Path, var: Path | None, patch_nums: tuple[int, ...]) -> Sizes:
    """Sizes of tokenizer and network, off the files' headers.

    The tokenizer alone (`var` None) is used at `patch_nums`. Raises `UserError` as `load_official`.
    """
    geometry = None if var is None else _official_geometry(_read_official(var), var)
    sides = patch_nums if geometry is None else geometry.patch_nums
    tokenizer = _official_tokenizer_config(_read_official(vae), vae, sides)
    return Sizes(tokenizer=tokenizer, geometry=geometry)


def save_official(tokenizer: Tokenizer, model: VAR, *, vae: str | Path, var: str | Path) -> None:
    """Write files that load into the reference implementation, strictly.

    `UserError` for a light tokenizer, which the reference does not have.
    """
    save_official_tokenizer(tokenizer, vae)
    _write_official(var, model.state_dict() | _official_buffers(model.geometry))


def save_official_tokenizer(tokenizer: Tokenizer, path: str | Path) -> None:
    """Write a tokenizer alone; raises as `save_official`."""
    if tokenizer.config.backbone != "official":
        raise UserError(
            f"vae {path}: the {tokenizer.config.backbone} tokenizer backbone has no official form; "
            "use varant.save"
        )
    _write_official(path, tokenizer.state_dict())


def _write_official(path: str | Path, state: dict[str, Tensor]) -> None:
    with replacing(Path(path)) as aside:
        torch.save({k: v.detach().cpu().contiguous() for k, v in state.items()}, aside)


def _read_official(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped: their values are read when they are used."""
    try:
        mapped = zipfile.is_zipfile(path)  # files of before torch 1.6 are not
        state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=mapped)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except MemoryError:
        raise
    except Exception:  # a damaged pickle raises nearly all there is
        raise UserError(f"{path}: truncated, or not a PyTorch checkpoint of tensors") from None
    if not isinstance(state, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()
    ):
        raise UserError(f"{path}: not a flat dictionary of tensors, as the published files are")
    if sum(tensor.nbytes for tensor in state.values()) > Path(path).stat().st_size:
        raise UserError(f"{path}: its tensors say that they are larger than the file")
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

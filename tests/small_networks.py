"""Sizes of tokenizers and networks that tests make by the dozen."""

from __future__ import annotations

from varant import Geometry, TokenizerConfig


def small_tokenizer(
    patch_nums: tuple[int, ...], vocab_size: int, *, phis: int = 0
) -> TokenizerConfig:
    """The lightest that there is, with codes of four channels."""
    return TokenizerConfig(
        patch_nums=patch_nums,
        vocab_size=vocab_size,
        code_channels=4,
        backbone="light",
        channels=8,
        phis=phis,
    )


def small_geometry(
    patch_nums: tuple[int, ...],
    vocab_size: int,
    *,
    depth: int,
    width: int = 32,
    num_classes: int = 3,
    code_channels: int = 4,
    shared_adaln: bool = False,
) -> Geometry:
    """A network with two heads."""
    return Geometry(
        depth=depth,
        width=width,
        heads=2,
        patch_nums=patch_nums,
        vocab_size=vocab_size,
        code_channels=code_channels,
        num_classes=num_classes,
        shared_adaln=shared_adaln,
    )

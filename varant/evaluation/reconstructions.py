"""The default reference: features of reconstructed test images."""

from __future__ import annotations

from pathlib import Path

from safetensors.numpy import load_file, save_file

from varant.data.tokens import read_tokens
from varant.evaluation.features import Extractor, Features
from varant.evaluation.inception import INCEPTION_FEATURES
from varant.evaluation.reference import Reference, load_reference_npz
from varant.files import replacing
from varant.model.tokenizer import Tokenizer
from varant.progress import Progress, silent

BATCH = 50  # images decoded at once, where the tokenizer is


def prepare_reference(
    tokens_folder: Path, tokenizer: Tokenizer, extractor: Extractor, progress: Progress = silent
) -> Path:
    """Features of the reconstructed test images, which samples are compared with.

    Made unless the tokens' folder has them for this extractor; read back by `read_reference`.
    """
    path = tokens_folder / f"reference-{extractor.name}.safetensors"
    if not path.exists():
        test = read_tokens(tokens_folder).test.rows(slice(None))
        device = next(tokenizer.parameters()).device
        parts = []
        with progress("reference", len(test), "img") as advance:
            for part in test.tokens_NL.split(BATCH):
                parts.append(extractor(tokenizer.decode(part.to(device)).add(1).div(2)))
                advance(len(part))
        features_NF = Features.joined(parts).features_NF
        with replacing(path) as aside:
            save_file({"features": features_NF, "labels": test.labels_N.numpy()}, aside)
    return path


def read_reference(path: Path, *, features: int = INCEPTION_FEATURES) -> Reference:
    """What `prepare_reference` wrote (`.safetensors`), or else statistics in an NPZ.

    Args:
        features: that the extractor has; an NPZ must have as many.

    Raises:
        UserError: as `load_reference_npz`.
    """
    if path.suffix != ".safetensors":
        return load_reference_npz(path, features=features)
    content = load_file(path)
    return Reference(features_NF=content["features"], labels_N=content["labels"])

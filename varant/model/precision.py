"""Half precision for sampling and evaluation: the weights are held in it, once; no autocast.

What decides a token stays in float32: the head with its norm, guidance, the probabilities, the
token maps and the image so far. Layers and the decoder's convolutions run in half precision.
"""

from typing import get_args

import torch

from varant.devices import Precision
from varant.errors import UserError
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR


def hold(model: VAR, tokenizer: Tokenizer, precision: Precision) -> None:
    """Hold weights in `precision`, in place: nothing is cast again while sampling.

    Of the network all but the head and its norm; of the tokenizer the decoder, in channels-last
    order. Encoder, codebook and phi stay in float32, so the tokens of images do not depend on it.
    float32 changes nothing. `UserError` for another type.
    """
    if precision not in get_args(Precision):
        raise UserError(f"precision {precision!r}: use one of {', '.join(get_args(Precision))}")
    if precision == "float32":
        return
    kind = getattr(torch, precision)
    exact = {id(p) for part in (model.head, model.head_nm) for p in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in exact:
            parameter.data = parameter.data.to(kind)
    for part in (tokenizer.decoder, tokenizer.post_quant_conv):
        for parameter in part.parameters():
            layout = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
            parameter.data = parameter.data.to(kind, memory_format=layout)

"""A CUDA device without a card: fake tensors have shape, type and place, and no content.

All that Python does on a card happens, with autocast's rules for CUDA, down to the kernels. What a
build of torch for CPUs lacks is put in its place, as narrowly as it goes:

- CUDA's device guard, without which indexing raises and autograd ends the process;
- the answer that autocast and the gradient scaler ask for before they switch themselves off;
- values, where the host reads one: they are 0;
- the threads in which autograd goes back on a device: here the graph is walked in this one.

Attention is made of its parts, since a fused kernel's choice asks the card; types are the same.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.function import BackwardCFunction
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)  # by its number: the guard that stands in knows of no current one
GUARDS = "_ZN3c104impl26device_guard_impl_registryE"  # c10::impl::device_guard_impl_registry
CUDA_GUARD, META_GUARD = 1, 14  # of c10::DeviceType
_aten = torch.ops.aten
# Operations that may see two places: copies, numbers that a mask is filled with, and what makes
# room for a network.
COPIES = {_aten._to_copy.default, _aten.copy_.default}
CROSSING = {*COPIES, _aten.fill_.Tensor, _aten.empty_like.default}
PRODUCTS = {_aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.baddbmm.default}
PRODUCTS |= {_aten.convolution.default}


class Card(TorchDispatchMode):
    """Refuses what a card would: tensors of two places, and products of two types, which fake ones
    let pass. Also what it would take and wait for, such as a lone number of the host's.

    Attributes:
        copies: from one place to another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is _aten._local_scalar_dense.default:
            return 0
        out = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(out)
        places = {str(tensor.device) for tensor in (*given, *made)}
        if len(places) > 1:
            assert func in CROSSING, f"{func} of tensors on {' and '.join(places)}"
            self.copies += func in COPIES
        if func in PRODUCTS:
            kinds = {str(tensor.dtype) for tensor in given}
            assert len(kinds) == 1, f"{func} of {' and '.join(kinds)}"
        return out


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


@contextlib.contextmanager
def fake_cuda() -> Iterator[Card]:
    """Inside, tensors are fake, and `CUDA` is there to make them on."""
    if torch.cuda.is_available():
        pytest.skip("a card is there, whose kernels choose for themselves: test_cuda.py")
    card = Card()
    fake = FakeTensorMode(allow_non_fake_inputs=True)  # a data set is made before
    with pytest.MonkeyPatch.context() as patch, _guard(), fake, card:
        patch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)  # autocast asks
        patch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
        patch.setattr(torch.cuda, "mem_get_info", lambda *_: (2**40, 2**40))
        patch.setattr(Tensor, "backward", walk_back)
        # Checkpointing runs a layer again once for each way back that it knows, and this is one.
        patch.setattr(torch._C, "_current_graph_task_id", lambda: 0)
        yield card


@contextlib.contextmanager
def _guard() -> Iterator[None]:
    """A guard for CUDA where torch has none: that of meta tensors, which does nothing.

    torch's own `_ensureCUDADeviceGuardSet` replaces the one of a CUDA build that finds no card.
    """
    try:
        (library,) = Path(torch.__file__).parent.glob("lib/libc10.[sd]*")
        guards = (ctypes.c_void_p * (META_GUARD + 1)).in_dll(ctypes.CDLL(str(library)), GUARDS)
    except (OSError, ValueError) as error:
        pytest.skip(f"this build of torch keeps its guards elsewhere ({error})")
    missing = guards[CUDA_GUARD] is None
    assert guards[META_GUARD] is not None
    if missing:
        guards[CUDA_GUARD] = guards[META_GUARD]
    try:
        yield
    finally:
        if missing:
            guards[CUDA_GUARD] = None


@torch.no_grad()
def walk_back(end: Tensor) -> None:
    """`backward` of a number, node after node as autograd's engine calls them.

    Of the engine's own doing it knows two things: gradients are summed to the shape of what they
    are gradients of, and cast to its type.
    """
    readers, nodes = Counter[Any](), [end.grad_fn]
    for node in nodes:  # which grows
        for other, _ in node.next_functions:
            if other is not None:
                nodes += [other] * (other not in readers)
                readers[other] += 1
    given: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    given[end.grad_fn][0], ready = torch.ones_like(end), [end.grad_fn]
    while ready:
        node = ready.pop()
        grads, like = given.pop(node, {}), node._input_metadata
        inputs = [_fitted(grads.get(i), form) for i, form in enumerate(like)]
        made = (node.apply if isinstance(node, BackwardCFunction) else node)(*inputs)
        # Of a function of ours there is a None more for each argument that is no tensor.
        made = made if isinstance(made, tuple) else (made,)
        for (other, place), grad in zip(node.next_functions, made, strict=False):
            if other is None:
                continue
            if grad is not None:
                there = given[other]
                there[place] = grad + there[place] if place in there else grad
            readers[other] -= 1
            ready += [other] * (readers[other] == 0)


def _fitted(grad: Tensor | None, like: Any) -> Tensor | None:
    if grad is None:
        return None
    assert grad.device == like.device
    return grad.sum_to_size(list(like.shape)).to(like.dtype)


def on_cuda(*blank: nn.Module) -> list[nn.Module]:
    """Networks of meta tensors, which are made outside: their buffers follow from values."""
    return [part.to_empty(device=CUDA) for part in blank]


class Types:
    """What types functions were given and made, by name; all of it on the device."""

    def __init__(self) -> None:
        self.given: dict[str, set[torch.dtype]] = defaultdict(set)
        self.made: dict[str, set[torch.dtype]] = defaultdict(set)

    def of(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched. Of what it is given, tensors that are arguments by themselves."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            out = function(*args, **kwargs)
            alone = [value for value in args if isinstance(value, Tensor)]
            for found, tensors in ((self.given, alone), (self.made, _tensors(out))):
                assert all(tensor.device == CUDA for tensor in tensors), name
                found[name] |= {tensor.dtype for tensor in tensors}
            return out

        return watched

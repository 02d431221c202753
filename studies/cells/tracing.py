"""What a generation holds and does, stage by stage: live bytes, launches, waits of the host.

`Trace` is torch's dispatch mode: it sees every operation and follows every storage from the
operation that made it to its end. On a CPU it is the allocator's view. On meta tensors it is a
prediction that allocates nothing, of any network and batch, and stands for a device of its own:
what goes from the host to it is seen.
"""

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

# torch's documented way to see every operation has no name without an underscore, nor have the
# schemas below, which say what an operation writes.
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from varant.devices import is_cuda

_aten = torch.ops.aten
# Operations that make or describe tensors and launch nothing.
_NO_LAUNCH = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}
_NO_LAUNCH |= {"_fused_sdp_choice", "_local_scalar_dense", "lift_fresh", "_unsafe_view"}
_PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "convolution"}


@dataclass(kw_only=True)
class StageTrace:
    """A stage at one scale.

    Attributes:
        peak_bytes: of the storages alive at once within it.
        launches: operations that compute.
        touched_bytes: read and written by those that are no products of matrices: what they take.
        waits: times that the host had to wait for the device or the device for the host.
    """

    stage: str
    scale_index: int
    peak_bytes: int
    launches: int = 0
    touched_bytes: int = 0
    waits: int = 0


class Trace(TorchDispatchMode):
    """Follows what is made inside its block; what was there before counts nothing.

    Attributes:
        stages: in order; begun by calling `watch`, which is the `watch` of a sampler.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stages = [StageTrace(stage="", scale_index=0, peak_bytes=0)]
        self._live, self._known = 0, WeakIdKeyDictionary()
        self._forms: dict[Any, Any] = {}
        self._more = ExitStack()

    def __enter__(self) -> "Trace":
        self._more.enter_context(_MetaAttention())
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *trouble: Any) -> None:
        super().__exit__(*trouble)  # type: ignore[no-untyped-call]
        self._more.close()

    def watch(self, stage: str, scale_index: int) -> None:
        now = StageTrace(stage=stage, scale_index=scale_index, peak_bytes=self._live)
        self.stages.append(now)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        now = self.stages[-1]
        if func is _aten._local_scalar_dense.default and given[0].is_meta:
            now.waits += 1
            return 0  # a meta tensor has no value; labels are zeros here
        for tensor in given:  # weights and the like, which operations may hand on as views
            self._known.setdefault(tensor.untyped_storage(), True)
        out = self._result(func, args, kwargs, given)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        for tensor in made:
            self._follow(tensor)
        asked = func is _aten._local_scalar_dense.default
        if asked or (made and {t.device.type for t in given} - {t.device.type for t in made}):
            now.waits += 1
        elif _computes(func):
            now.launches += 1
            if func.overloadpacket.__name__ not in _PRODUCTS:
                now.touched_bytes += sum(t.numel() * t.element_size() for t in (*given, *made))
        return out

    def _result(self, func: Any, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        """What an operation gives. On meta tensors it takes torch half a millisecond of Python to
        say its form, which is the same in every layer."""
        if not (
            given and all(t.is_meta for t in given) and _computes(func) and _is_functional(func)
        ):
            return func(*args, **kwargs)
        key = func, _form(args), _form(tuple(kwargs.items()))
        if key not in self._forms:
            out = func(*args, **kwargs)
            self._forms[key] = _form(out)
            return out
        return _like(self._forms[key])

    def _follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known[storage] = True
        self._live += size
        now = self.stages[-1]
        now.peak_bytes = max(now.peak_bytes, self._live)
        weakref.finalize(storage, self._end, size)

    def _end(self, size: int) -> None:
        self._live -= size


def _computes(func: Any) -> bool:
    """Neither a view nor one of those that only make room."""
    if func.overloadpacket.__name__ in _NO_LAUNCH:
        return False
    returns = func._schema.returns
    views = [r.alias_info is not None and not r.alias_info.is_write for r in returns]
    return not (views and all(views))


def _is_functional(func: Any) -> bool:
    return not any(
        a.alias_info is not None for a in (*func._schema.arguments, *func._schema.returns)
    )


class _Form(NamedTuple):
    """A tensor without its content."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


def _form(value: Any) -> Any:
    """Of arguments or results: tensors by their form, lists as tuples, so that it can be a key."""
    if isinstance(value, Tensor):
        return _Form(value.shape, value.stride(), value.dtype)
    return tuple(map(_form, value)) if isinstance(value, list | tuple) else value


def _like(form: Any) -> Any:
    """Results of this form, on meta."""
    if isinstance(form, _Form):
        return torch.empty_strided(form.size, form.stride, dtype=form.dtype, device="meta")
    return tuple(map(_like, form)) if isinstance(form, tuple) else form


class AllocatorTrace:
    """The same bytes as a CUDA device's allocator counts them, above what it held before."""

    def __init__(self, device: str) -> None:
        self.stages = [StageTrace(stage="", scale_index=0, peak_bytes=0)]
        self._device, self._before = device, 0

    def __enter__(self) -> "AllocatorTrace":
        self._before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return self

    def __exit__(self, *trouble: Any) -> None:
        self._close_stage()

    def watch(self, stage: str, scale_index: int) -> None:
        self._close_stage()
        self.stages.append(StageTrace(stage=stage, scale_index=scale_index, peak_bytes=0))

    def _close_stage(self) -> None:
        """The allocator counts as the host asks, so nothing has to be waited for."""
        self.stages[-1].peak_bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        torch.cuda.reset_peak_memory_stats(self._device)


def trace_of(device: str) -> Trace | AllocatorTrace:
    """What follows the bytes on a device."""
    return AllocatorTrace(device) if is_cuda(device) else Trace()


def device_activities(work: Callable[[], object], device: str) -> int:
    """Kernels, copies and fills that a CUDA device runs for it, by torch's profiler."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize(device)
    return sum(event.device_type.name == "CUDA" for event in profile.events())


class _MetaAttention(TorchFunctionMode):
    """Attention of meta tensors as a fused kernel does it: its output and nothing else."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.scaled_dot_product_attention and args[0].is_meta:
            return torch.add(args[0], 0)
        return func(*args, **(kwargs or {}))

"""The processes that train one network together, as `torchrun` starts them."""

import contextlib
import ctypes
import datetime
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from varant.devices import is_cuda
from varant.errors import UserError
from varant.files import differences

# Rank 0 may train a tokenizer and a base network while the others wait for it.
LONGEST_WAIT = datetime.timedelta(hours=24)
PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when its parent ends


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those of a run; alone, where `torchrun` did not start it."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the ranks, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the ranks, in place."""
        return self.sum(values).div_(self.count)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.count > 1:
            dist.barrier()

    def check_same(self, config: dict[str, Any]) -> None:
        """Raise `UserError` on every rank unless all ranks have this config."""
        if self.count == 1:
            return
        found: list[dict[str, Any]] = [{}] * self.count
        dist.all_gather_object(found, config)
        for rank, other in enumerate(found):
            for key, here, first in sorted(differences(other, found[0])):
                raise UserError(
                    f"ranks disagree: {key} is {here} on rank {rank} and {first} on rank 0; start "
                    "all with the same command"
                )


ALONE = Ranks()


def end_with_torchrun() -> None:
    """Have this process stopped, so that it saves, when torchrun itself is killed: nobody would
    know of it, and nobody else could train in its folder."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


@contextlib.contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Join the process group that `torchrun` describes in the environment, if there is one.

    CUDA processes talk by NCCL, others by gloo; on CUDA, rank r of a machine takes its device r.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    end_with_torchrun()
    backend = "nccl" if is_cuda(device) else "gloo"
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if backend == "nccl":
        torch.cuda.set_device(local_rank)
    dist.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        ranks = Ranks(rank=dist.get_rank(), count=dist.get_world_size(), local_rank=local_rank)
        yield ranks
        # A rank that leaves while another still works can abort in gloo's teardown.
        ranks.wait()
    finally:
        dist.destroy_process_group()

"""What drawing images costs: time by stage and scale, memory by stage, launches, and switching."""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch

from analysis.efficiency_file import OURS
from studies.cells.gauge import BatchGauge, Row
from studies.cells.samplers import Sampler, predicted_stages, samplers, stand_ins
from studies.cells.timing import StageClock
from studies.cells.tracing import StageTrace, device_activities, trace_of
from varant.devices import is_cuda

MOST_TURNS, TURNS_SECONDS = 4, 30.0  # of switching, beyond `repeats`


@dataclass(frozen=True, kw_only=True)
class _OfSampling(BatchGauge):
    """Of the samplers at one batch size."""

    part: ClassVar[str] = "sampling"

    def _row(self, sampler: Sampler, metric: str, value: float, **more: object) -> Row:
        return self.row(sampler.plan.name, metric, value, style=sampler.style, **more)


@dataclass(frozen=True, kw_only=True)
class Latency(_OfSampling):
    """Seconds of a generation, all samplers by turns, and of each stage at each scale."""

    kind: ClassVar[str] = "latency"

    def measure(self) -> Iterator[Row]:
        subject, found = self.subject, samplers(self.subject)
        clocks: list[list[StageClock]] = [[] for _ in found]

        def draw(sampler: Sampler, mine: list[StageClock]) -> None:
            mine.append(StageClock(subject.device))
            sampler.draw(self.batch, mine[-1].watch)

        works = [partial(draw, sampler, mine) for sampler, mine in zip(found, clocks, strict=True)]
        seconds = self.watch.by_turns(works)
        for place, sampler in enumerate(found):
            for repeat, clock in enumerate(clocks[place][1:]):  # the first was untimed
                row = partial(self._row, sampler, "seconds", repeat=repeat)
                yield row(seconds[repeat, place])
                for (stage, scale_index), spent in clock.seconds().items():
                    yield row(spent, stage=stage, scale=scale_index + 1)


@dataclass(frozen=True, kw_only=True)
class Memory(_OfSampling):
    """Bytes by stage, measured and predicted; cached K and V; launches and waits."""

    kind: ClassVar[str] = "memory"

    def measure(self) -> Iterator[Row]:
        cuda = is_cuda(self.subject.device)
        # Autocast splits operations on tensors without content; waits do not depend on the type.
        counted = stand_ins(replace(self.subject, precision="float32"))
        kinds = zip(samplers(self.subject), stand_ins(self.subject), counted, strict=True)
        for sampler, stand_in, counting in kinds:
            trace = trace_of(self.subject.device)
            # A trace sees operations, of which compiled code has none.
            stance = torch.compiler.set_stance("default" if cuda else "force_eager")
            with trace, stance:
                sample = sampler.draw(self.batch, trace.watch)
            row = partial(self._row, sampler)
            yield row("bytes/kv", sample.kv_bytes_peak)
            yield row("bytes/weights", sampler.weight_bytes)
            predicted = predicted_stages(stand_in, self.batch)
            for metric, stages in (("bytes/peak", trace.stages), ("bytes/predicted", predicted)):
                for (stage, scale), value in _largest(stages).items():
                    yield row(metric, value, stage=stage, scale=scale)
            if cuda:
                launches = device_activities(partial(sampler.draw, self.batch), self.subject.device)
            else:
                launches = sum(stage.launches for stage in trace.stages)
            yield row("launches", launches)
            apart = predicted
            if self.subject.precision != "float32":
                apart = predicted_stages(counting, self.batch)
            yield row("waits", sum(stage.waits for stage in apart))


def _largest(stages: list[StageTrace]) -> dict[tuple[str, int], int]:
    """Peak bytes by stage and 1-based scale; those of a stage in parts are one."""
    found: dict[tuple[str, int], int] = {}
    for stage in stages:
        if stage.stage not in ("", "end"):
            key = stage.stage, stage.scale_index + 1
            found[key] = max(found.get(key, 0), stage.peak_bytes)
    return found


@dataclass(frozen=True, kw_only=True)
class Switching(_OfSampling):
    """Seconds of a generation right after another plan's over those right after its own.

    Every turn gives a ratio for each plan: another plan's generation, then two of its own. There
    are as many turns as `repeats`, and up to four times as many while they take seconds only: a
    loss of two percent is small. Graphs that are compiled meanwhile are counted.
    """

    kind: ClassVar[str] = "switching"

    def measure(self) -> Iterator[Row]:
        ours = [sampler for sampler in samplers(self.subject) if sampler.style == OURS]
        for sampler in ours:
            sampler.draw(self.batch)
        before, started = _compiled_graphs(), time.monotonic()
        for repeat in range(MOST_TURNS * self.subject.repeats):
            if repeat >= self.subject.repeats and time.monotonic() - started > TURNS_SECONDS:
                break
            for place, sampler in enumerate(ours):
                ours[place - 1].draw(self.batch)
                after_other, after_own = (
                    self.watch.seconds(partial(sampler.draw, self.batch)) for _ in range(2)
                )
                yield self._row(sampler, "switched", after_other / after_own, repeat=repeat)
        yield self._row(ours[0], "recompilations", _compiled_graphs() - before)


def _compiled_graphs() -> int:
    """Graphs that Dynamo has made in this process; none where nothing is compiled."""
    if "torch._dynamo" not in sys.modules:  # takes seconds to import
        return 0
    # Without a public form; `test_compiled_layers_serve_every_plan` holds that it counts.
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])

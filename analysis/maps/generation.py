"""What generations cost, as tables: time, memory, and how near both are to arithmetic."""

import functools
from dataclasses import dataclass

import pandas as pd

from analysis.efficiency_file import OURS, REFERENCE, STAGES, TRANSFORMER, EfficiencyFile

SAMPLER = ["style", "subject"]


@dataclass(frozen=True)
class Sampling:
    """Of one batch size. Tables have a row a sampler: the reference's style, then ours by plan."""

    study: EfficiencyFile
    frame: pd.DataFrame  # of the sampling part at this batch
    machine: pd.Series  # metric to value
    batch: int

    @functools.cached_property
    def names(self) -> list[tuple[str, str]]:
        """Style and plan, in the order to show."""
        return [(REFERENCE, self.study.full), *((OURS, plan) for plan in self.study.plans)]

    @functools.cached_property
    def seconds(self) -> pd.DataFrame:
        """Of a generation: a column a repeat."""
        return self._repeats(self.frame[self.frame["stage"].isna()])

    @functools.cached_property
    def transformer_seconds(self) -> pd.DataFrame:
        """Of the stages that a plan changes: a column a repeat."""
        return self._repeats(self.frame[self.frame["stage"].isin(TRANSFORMER)])

    def _repeats(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows[rows["metric"] == "seconds"]
        summed = rows.groupby([*SAMPLER, "repeat"])["value"].sum().unstack("repeat")
        return summed.reindex(pd.MultiIndex.from_tuples(self.names, names=SAMPLER))

    @functools.cached_property
    def by_stage(self) -> pd.DataFrame:
        """Median seconds by sampler, scale and stage: a column a stage."""
        rows = self.frame[(self.frame["metric"] == "seconds") & self.frame["stage"].notna()]
        found = rows.groupby([*SAMPLER, "scale", "stage"])["value"].median().unstack("stage")
        return found.reindex(columns=list(STAGES)).fillna(0.0)

    @functools.cached_property
    def latency(self) -> pd.DataFrame:
        """`seconds` with `low` and `high` (the range of the repeats), `images_per_second`,
        `speedup` over the full network and `over_reference`, both paired turn by turn with their
        range, `flops_ratio` (what FLOPs alone allow), `transformer` (the speed-up of the stages
        that a plan changes), `of_ceiling` (that over `flops_ratio`), `mfu` and `mbu`."""
        seconds, blocks = self.seconds, self.transformer_seconds
        full, reference = (OURS, self.study.full), (REFERENCE, self.study.full)
        rows = []
        for name in self.names:
            mine, plan = seconds.loc[name], self.study.plans[name[1]]
            flops = plan.flops_reference if name[0] == REFERENCE else plan.flops
            ceiling = self.study.plans[self.study.full].flops / flops
            transformer = (blocks.loc[full] / blocks.loc[name]).median()
            spent = blocks.loc[name].median()
            moved = plan.traffic_bytes + self.batch * plan.kv_traffic_bytes
            rows.append(
                {
                    "seconds": mine.median(),
                    "low": mine.min(),
                    "high": mine.max(),
                    "images_per_second": self.batch / mine.median(),
                    **_ratio("speedup", seconds.loc[full] / mine),
                    **_ratio("over_reference", seconds.loc[reference] / mine),
                    "flops_ratio": ceiling,
                    "transformer": transformer,
                    "of_ceiling": transformer / ceiling,
                    "mfu": self.batch * flops / spent / self.machine["matrix_flops_per_second"],
                    "mbu": moved / spent / self.machine["copied_bytes_per_second"],
                }
            )
        return pd.DataFrame(rows, index=seconds.index)

    @functools.cached_property
    def course(self) -> pd.DataFrame:
        """Bytes over a generation: `peak` measured, `predicted`, and `kv` by arithmetic, by
        sampler, scale and stage in their order."""
        rows = self.frame[self.frame["metric"].isin(["bytes/peak", "bytes/predicted"])]
        wide = rows.pivot_table(
            index=[*SAMPLER, "scale", "stage"], columns="metric", values="value"
        ).reset_index()
        wide["place"] = wide["stage"].map(STAGES.index)
        wide["kv"] = [
            self.batch * self.study.plans[row.subject].kv_course[row.scale - 1]
            if row.stage != "decode"
            else 0
            for row in wide.itertuples()
        ]
        wide = wide.rename(columns={"bytes/peak": "peak", "bytes/predicted": "predicted"})
        order = {name: place for place, name in enumerate(self.names)}
        wide["sampler"] = [order[row.style, row.subject] for row in wide.itertuples()]
        return wide.sort_values(["sampler", "scale", "place"], ignore_index=True)

    @functools.cached_property
    def memory(self) -> pd.DataFrame:
        """`kv_analytic`, `kv_live` (read off the tensors), `transformer_bytes` (all that is alive
        at once in the stages that a plan changes), `peak` of the whole generation, `stage` and
        `scale` that set it, `predicted` of that peak, `weights`, `launches`, `waits`."""
        counted = self.frame[self.frame["stage"].isna()].set_index([*SAMPLER, "metric"])["value"]
        rows = []
        for style, plan in self.names:
            mine = self.course[(self.course["style"] == style) & (self.course["subject"] == plan)]
            highest = mine.loc[mine["peak"].idxmax()]
            facts = self.study.plans[plan]
            kv = facts.kv_bytes_reference if style == REFERENCE else facts.kv_bytes
            rows.append(
                {
                    "kv_analytic": self.batch * kv,
                    "kv_live": counted[style, plan, "bytes/kv"],
                    "transformer_bytes": mine.loc[mine["stage"].isin(TRANSFORMER), "peak"].max(),
                    "peak": highest["peak"],
                    "stage": highest["stage"],
                    "scale": int(highest["scale"]),
                    "predicted": mine["predicted"].max(),
                    "weights": counted[style, plan, "bytes/weights"],
                    "launches": counted[style, plan, "launches"],
                    "waits": counted[style, plan, "waits"],
                }
            )
        return pd.DataFrame(rows, index=self.seconds.index)

    @functools.cached_property
    def switched(self) -> pd.DataFrame:
        """Time under a plan right after another's over that after its own: a row a plan, a column
        a repeat; empty where it was not measured."""
        rows = self.frame[self.frame["metric"] == "switched"]
        return rows.pivot(index="subject", columns="repeat", values="value")

    @property
    def recompilations(self) -> int:
        """Graphs that were compiled while plans were switched."""
        return int(self.frame.loc[self.frame["metric"] == "recompilations", "value"].sum())

    @property
    def whole(self) -> bool:
        """Whether every sampler was timed and its memory followed."""
        kinds = {"seconds", "bytes/peak"}
        return kinds <= set(self.frame["metric"].dropna())


def _ratio(name: str, values: pd.Series) -> dict[str, float]:
    return {name: values.median(), f"{name}_low": values.min(), f"{name}_high": values.max()}


def sampling_of(study: EfficiencyFile, frame: pd.DataFrame) -> list[Sampling]:
    """By batch, ascending; none where the part was not measured or has failed."""
    machine = frame[frame["part"] == "machine"].set_index("metric")["value"]
    mine = frame[frame["part"] == "sampling"]
    found = [
        Sampling(study, mine[mine["batch"] == batch], machine, batch) for batch in study.batches
    ]
    return [one for one in found if one.whole]


def label(style: str, plan: str) -> str:
    return plan if style == OURS else "reference style"


@dataclass(frozen=True)
class Training:
    study: EfficiencyFile
    frame: pd.DataFrame  # of the training part

    @functools.cached_property
    def steps(self) -> pd.DataFrame:
        """A row a plan: `seconds` of a step with `low` and `high`, `images_per_second`, `ratio` to
        the full network's paired turn by turn with its range, `flops_ratio`, `peak` bytes of what
        a step holds beside parameters and optimiser."""
        rows = self.frame[self.frame["metric"] == "step_seconds"]
        seconds = rows.pivot(index="subject", columns="repeat", values="value")
        seconds = seconds.reindex(list(self.study.plans))
        batch = rows["batch"].iloc[0]
        flops, peak = self._by_plan("flops_ratio"), self._by_plan("bytes/peak")
        found = [
            {
                "seconds": mine.median(),
                "low": mine.min(),
                "high": mine.max(),
                "images_per_second": batch / mine.median(),
                **_ratio("ratio", mine / seconds.loc[self.study.full]),
                "flops_ratio": flops[plan],
                "peak": peak[plan],
            }
            for plan, mine in seconds.iterrows()
        ]
        return pd.DataFrame(found, index=seconds.index)

    def _by_plan(self, metric: str) -> pd.Series:
        return self.frame[self.frame["metric"] == metric].set_index("subject")["value"]

    @property
    def fixed(self) -> pd.Series:
        """Bytes by kind."""
        return self.frame[self.frame["metric"] == "bytes/fixed"].set_index("stage")["value"]

    @property
    def shares(self) -> pd.Series:
        """Of the time, by what takes it beside the steps: medians over repeats."""
        rows = self.frame[self.frame["metric"] == "share"]
        return rows.groupby("subject", sort=False)["value"].median()

    @property
    def online_ratio(self) -> float:
        """Images a second on cached tokens over those tokenised at each step: median over repeats;
        NaN without."""
        return float(self.frame.loc[self.frame["metric"] == "online_ratio", "value"].median())

    @property
    def batch(self) -> int:
        return int(self.frame["batch"].iloc[0])


def training_of(study: EfficiencyFile, frame: pd.DataFrame) -> Training | None:
    """None where the part was not measured or has failed."""
    mine = frame[frame["part"] == "training"]
    return Training(study, mine) if (mine["metric"] == "step_seconds").any() else None

"""`--compile`: a graph a plan, the same losses, and never silently without."""

import functools
import shutil
from dataclasses import replace

import pytest
import torch
from small_trainers import DEEP, GEOMETRY, PATCH_NUMS, SUPERNET, make_trainer, tokenizer, tokens
from torch._dynamo.exc import FailOnRecompileLimitHit

from varant import DepthPlan
from varant.evaluation.likelihood import nll_per_scale
from varant.training.trainer import Trainer


def assert_same_losses(plain: Trainer, compiled: Trainer) -> None:
    for _ in range(6):
        found, expected = compiled.advance().metrics, plain.advance().metrics
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are made, of which there is no machine code."""
    made = []

    def backend(graph, inputs):
        made.append(graph)
        return graph

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    # Fewer than there are plans, as the default of 8 is for a network with many.
    with torch._dynamo.config.patch(recompile_limit=2):
        yield made


def test_a_supernet_takes_a_graph_a_plan_whatever_else_runs(graphs):
    plain, compiled = make_trainer(**SUPERNET), make_trainer(compile=True, **SUPERNET)
    for images in (10, 7):
        nll_per_scale(compiled.model, compiled.tokenizer, tokens(), images=images)
    assert_same_losses(plain, compiled)
    assert {d for step in compiled.draws.depths[:6] for d in step} == {1, 2, 3}
    assert len(graphs) == len(compiled.plans) == 3
    make_trainer(compile=True).advance()
    assert len(graphs) == 4, "the next training of a process has graphs of its own"


def test_a_plan_too_many_is_an_error(graphs):
    trainer = make_trainer(compile=True)
    batch = trainer.batches.batch(0, slice(None))
    inputs = tokenizer().teacher_inputs(batch.tokens_NL)
    trainer.loss(inputs, batch.tokens_NL, batch.labels_N, DepthPlan.full(PATCH_NUMS, 3))
    other = DepthPlan.per_scale(PATCH_NUMS, 3, depths=(1, 2, 3))
    with pytest.raises(FailOnRecompileLimitHit):
        trainer.loss(inputs, batch.tokens_NL, batch.labels_N, other)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="no C++ compiler")
@pytest.mark.parametrize(
    ("geometry", "options"),
    [(replace(GEOMETRY, depth=1), {}), pytest.param(DEEP, SUPERNET, marks=pytest.mark.long)],
    ids=["one layer", "supernet"],
)
def test_compiled_training_gives_the_same_losses(geometry, options):
    """The compiler takes a second for each of twenty kernels a layer and plan."""
    assert_same_losses(
        make_trainer(geometry, **options), make_trainer(geometry, compile=True, **options)
    )

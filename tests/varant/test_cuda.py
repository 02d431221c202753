"""The same numbers on a GPU; runs where there is one."""

import subprocess
import sys

import pytest
import torch
from small_networks import small_geometry, small_tokenizer

import varant
from varant.data.batches import CachedBatches
from varant.data.tokens import TokenSplit
from varant.evaluation.likelihood import nll_per_scale
from varant.training.config import TrainingConfig
from varant.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

PATCH_NUMS = (1, 2, 3)


def pair(device: str, dtype=torch.float64):
    torch.manual_seed(0)
    geometry = small_geometry(PATCH_NUMS, 16, depth=4)
    config = small_tokenizer(PATCH_NUMS, 16)
    tokenizer, model = varant.Tokenizer(config).eval(), varant.VAR(geometry)
    return tokenizer.to(device, dtype), model.to(device, dtype)


@pytest.mark.parametrize("name", ["full", "d2@1", "4,1,3"])
def test_generation_draws_the_same_tokens(name):
    samples = []
    for device in ("cpu", "cuda"):
        tokenizer, model = pair(device)
        samples.append(varant.generate(model, tokenizer, torch.arange(3), plan=name, seed=1))
    assert torch.equal(samples[0].tokens, samples[1].tokens.cpu())
    assert samples[0].kv_bytes_peak == samples[1].kv_bytes_peak
    torch.testing.assert_close(samples[0].images, samples[1].images.cpu())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_cache_is_half_precision_under_autocast(dtype):
    tokenizer, model = pair("cuda", torch.float32)
    plan = varant.DepthPlan.parse("d2@1", PATCH_NUMS, 4)
    with torch.autocast("cuda", dtype=dtype):
        sample = varant.generate(model, tokenizer, torch.arange(3), plan=plan, seed=1)
    cost = varant.plan_cost(model.geometry, plan, batch=3, kv_bytes=2)
    assert sample.kv_bytes_peak == cost.kv_bytes_peak


def test_training_and_likelihood():
    tokens = TokenSplit(
        shards=(torch.randint(0, 16, (64, 14), dtype=torch.int32),), labels_N=torch.arange(64) % 3
    )
    found = []
    for device in ("cpu", "cuda"):
        tokenizer, model = pair(device)
        config = TrainingConfig(budget_images=320, batch=32)
        batches = CachedBatches(tokens, seed=config.seed, batch=config.batch)
        trainer = Trainer(model, tokenizer, batches, config)
        while not trainer.finished:
            trainer.advance()
        model.eval()
        found.append(nll_per_scale(model, tokenizer, tokens))
    torch.testing.assert_close(torch.tensor(found[0]), torch.tensor(found[1]), atol=1e-6, rtol=0)


REPEATED = """
import sys, torch
from small_networks import small_geometry, small_tokenizer
import varant
from varant.data.batches import CachedBatches
from varant.data.tokens import TokenSplit
from varant.devices import repeatable
from varant.training.config import TrainingConfig
from varant.training.trainer import Trainer

torch.manual_seed(0)
tokens = TokenSplit(
    shards=(torch.randint(0, 16, (64, 14), dtype=torch.int32),), labels_N=torch.arange(64) % 3
)
model = varant.VAR(small_geometry((1, 2, 3), 16, depth=4)).to("cuda")
tokenizer = varant.Tokenizer(small_tokenizer((1, 2, 3), 16)).eval().to("cuda")
config = TrainingConfig(budget_images=3_200, batch=32)
with repeatable("cuda"):
    trainer = Trainer(model, tokenizer, CachedBatches(tokens, seed=0, batch=32), config)
    while not trainer.finished:
        trainer.advance()
torch.save({name: t.cpu() for name, t in model.state_dict().items()}, sys.argv[1])
"""


def test_a_training_that_is_repeatable_gives_the_same_bits(tmp_path):
    """In processes of their own: CUDA's products are set up once a process."""
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", REPEATED, tmp_path / name], check=True, timeout=300)
    one, two = (torch.load(tmp_path / name) for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)

"""What a cell loads."""

from dataclasses import replace

import torch
from probe_cells import probe
from small_networks import small_geometry, small_tokenizer

from studies.cells import measuring
from studies.cells.measuring import LoadedHeldOut, UnderPlan, costs_of, load_network
from varant import VAR, DepthPlan, Tokenizer
from varant.store.checkpoint import save

PATCH_NUMS = (1, 2, 3)


def test_a_network_in_half_precision_leaves_the_unit_s_tokenizer_alone(tmp_path, monkeypatch):
    """Real images, and references, are decoded as they were for any other network."""
    shared = Tokenizer(small_tokenizer(PATCH_NUMS, 8)).eval()
    save(tmp_path, shared, VAR(small_geometry(PATCH_NUMS, 8, depth=4)), note={})
    held_out = LoadedHeldOut(tokenizer=shared, tokens=None, spaces=(), training=None)
    monkeypatch.setattr(measuring, "load_held_out", lambda *_: held_out)
    network = replace(probe(seed=0).network, model_folder=tmp_path)
    exact = load_network(network, "cpu")
    half = load_network(replace(network, precision="bfloat16"), "cpu")
    assert half.model.pos_1LC.dtype == half.held_out.tokenizer.decoder_type == torch.bfloat16
    assert exact.held_out.tokenizer is shared
    assert shared.decoder_type == torch.float32
    plan = DepthPlan.full(PATCH_NUMS, 4)
    bytes_held = [
        costs_of(UnderPlan(loaded=loaded, plan=plan), guidance=False)["kv_bytes/analytic"].value
        for loaded in (exact, half)
    ]
    assert bytes_held[0] == 2 * bytes_held[1]

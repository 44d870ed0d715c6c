"""Compiled encoders are few graphs without breaks, whatever the lengths of the texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from models.options import Sizes
from models.tsn import TSN, TSNOptions

GRAPHS = 5  # the image encoder, and the text encoder without and with images, each for one length and for all others
SIZES = Sizes((32, 16), 16, 64, 1, 64, 1, 96, vocabulary=30, positions=80)


def test_a_step_compiles_few_graphs_without_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padded as on a GPU; a break would leave parts uncompiled, and a graph a length would compile all the time."""
    graphs: list[torch.fx.GraphModule] = []
    compiled = nn.Module.compile

    def count(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    def compile_by_counting(module: nn.Module, **options: Any) -> None:
        compiled(module, **options | {"backend": count})

    monkeypatch.setattr(nn.Module, "compile", compile_by_counting)
    monkeypatch.setattr("models.text.should_pack", lambda mask: False)
    torch._dynamo.reset()
    counters.clear()
    model = TSN(SIZES, enc_token=29, classes=6, options=TSNOptions()).train()
    model.compile_encoders()
    found = []
    for length in (16, 24, 40, 16):
        ids = torch.randint(5, 29, (6, length))
        losses = model(torch.randn(6, 3, 32, 16), ids, torch.ones_like(ids), torch.arange(6))
        found.append(len(graphs))
    torch.stack(list(losses.values())).sum().backward()
    assert 0 < found[0] < found[-1] <= GRAPHS
    assert found[1:] == found[1:2] * 3
    assert not counters["graph_break"]

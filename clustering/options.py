"""Options of the pseudo-labels (section `cluster` of a config)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from data.records import DataName
from utils.options import PositiveFloat, PositiveInt, options


@options
class ClusterOptions:
    """How features become pseudo-labels; `configs/base.yaml` explains each key."""

    k1: PositiveInt
    k2: PositiveInt
    eps: PositiveFloat | Literal["auto", "silhouette"]
    freeze_eps: bool
    min_samples: PositiveInt
    metric: Literal["precomputed", "rows"]
    knn: Literal["exact", "ivf"]
    degenerate: Literal["stop", "adjust"]
    source_name: DataName | None
    source_root: str | None
    source_weight: Annotated[float, Field(ge=0, lt=1)]

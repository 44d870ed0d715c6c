"""Options of the clustering."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from utils.errors import UserError
from utils.options import Fraction, PositiveFloat, PositiveInt, options


@options
class ClusterOptions:
    """How features become pseudo-labels.

    Attributes:
        whiten: a, by which the principal components of the features are scaled to a variance of `s^(2 - 2a)` instead of
            s^2: 0 leaves the features as they are (as published), 1 gives all components the same variance.
        k1: neighbors that may be reciprocal.
        k2: neighbors, the point itself included, whose neighborhoods are averaged.
        eps: radius of DBSCAN; "auto" is the mean of the smallest 1 % of all distances (as published), "silhouette" the
            smallest of 0.2, 0.25, ... 0.8 within 5 % of the highest silhouette.
        min_samples: points within eps, itself included, that make a point a core point.
        metric: "precomputed" compares eps with Jaccard distances; "rows" with the Euclidean distance between two rows
            of the distance matrix (as published).
        knn: how neighbors are searched: "exact", or "ivf", which is approximate from 200,000 points on, except on a
            GPU.
        source_weight: weight of the source term; without source features it has no effect.
    """

    whiten: Fraction
    k1: PositiveInt
    k2: PositiveInt
    eps: PositiveFloat | Literal["auto", "silhouette"]
    min_samples: PositiveInt
    metric: Literal["precomputed", "rows"]
    knn: Literal["exact", "ivf"]
    source_weight: Annotated[float, Field(ge=0, lt=1)]

    def __post_init__(self) -> None:
        if self.eps == "silhouette" and self.metric == "rows":
            raise UserError("eps=silhouette is a Jaccard distance: it needs metric=precomputed")

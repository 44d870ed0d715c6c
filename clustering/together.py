"""Pseudo-labels that a group of processes makes together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.jaccard import neighbours_wanted
from clustering.neighbours import Method, as_features, find_neighbours
from clustering.pseudo_labels import PseudoLabels, assign_pseudo_labels, check_options
from utils import distributed


def assign_together(
    features: NDArray, *, k1: int, k2: int, knn: Method, device: torch.device | str | None, **others: Any
) -> PseudoLabels:
    """As `assign_pseudo_labels`, of which `others` are further arguments; all the same in every process of the group.

    Each process searches for the neighbours of its share of the points. The first does the rest, and tells the others:
    what machines round differently must not make them disagree about who is who.
    """
    if distributed.world_size() == 1:
        return assign_pseudo_labels(features, k1=k1, k2=k2, knn=knn, device=device, **others)
    # What is refused must be refused by all, before one of them waits for another.
    check_options(k1=k1, k2=k2, knn=knn, **others)
    features = as_features(features, "features")

    def first() -> dict[str, Any]:
        found = assign_pseudo_labels(features, k1=k1, k2=k2, knn=knn, device=device, **others)
        return {"labels": found.labels.tolist(), "eps": found.eps, "silhouette": found.silhouette}

    if not distributed.is_main_process() and len(features):
        find_neighbours(features, neighbours_wanted(len(features), k1, k2), method=knn, device=device)
    told = distributed.run_on_main(first)
    return PseudoLabels(np.array(told["labels"], np.int64), told["eps"], told["silhouette"])

"""Retrieval without a model: count the slots in which the rewrite of a query and the caption of an image agree.

This is what a trained model has to exceed. The texts must follow the style template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from captioning.style.template import Slots, parse

_MIN_SHARE = 0.5  # of the texts that must follow the template


def slot_agreement(rewrites: Sequence[str | None], captions: Sequence[str | None]) -> NDArray[np.float32] | None:
    """Return the number of slots that both texts fill equally, minus that of those they fill differently.

    Args:
        rewrites: [Q], None where missing.
        captions: [G], None where missing.

    Returns:
        [Q, G] scores, or None if less than half of the rewrites or of the captions follow the template.
    """
    sides = [[parse(text or "") for text in texts] for texts in (rewrites, captions)]
    if any(sum(map(bool, side)) < max(1, _MIN_SHARE * len(side)) for side in sides):
        return None
    scores = np.zeros((len(rewrites), len(captions)), np.float32)
    for field in fields(Slots):
        query, gallery = (np.array([getattr(slots, field.name) or "" for slots in side]) for side in sides)
        both = (query != "")[:, None] & (gallery != "")[None]
        scores += both * np.where(query[:, None] == gallery[None], 1, -1)
    return scores

"""The pairs that a run trains on, with a word on what is left out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from data.captions import check_same_data, read_train_captions
from data.images import find_broken
from data.pairs import UnlabelledPairs, join_captions
from data.records import ImageRecord
from utils import distributed
from utils.errors import UserError


def load_training_pairs(records: Sequence[ImageRecord], captions: Path) -> UnlabelledPairs:
    """Join training records with their caption file; report on stderr what has no caption or cannot be read.

    Raises:
        UserError: the caption file is missing, of another data set, or leaves nothing to train on.
    """
    if not captions.is_file():
        raise UserError(f"{captions} is missing: make the captions first with gen_train_data.py")
    texts = read_train_captions(captions)
    check_same_data(texts, records, captions)
    captioned = [record for record in records if texts.get(record.name)]
    broken = distributed.run_on_main(lambda: find_broken(captioned, what="training images"))
    pairs, left_out = join_captions(records, texts, broken)
    for reason in left_out.broken.values():
        print(f"left out of training: {reason}", file=sys.stderr)
    if left_out.uncaptioned:
        first = left_out.uncaptioned[0]
        print(
            f"left out of training: {len(left_out.uncaptioned)} of {len(records)} images without a caption in "
            f"{captions} (the first is {first})",
            file=sys.stderr,
        )
    return pairs

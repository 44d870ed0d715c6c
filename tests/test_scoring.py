"""Scores: two similarities fused by hand, and re-ranking of the best images by the matching head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from data.captions import TestTexts as Texts
from data.records import ImageRecord
from retrieval.metrics import evaluate_queries
from retrieval.retrieval_set import build_retrieval_set
from retrieval.scoring import UNMATCHED_OFFSET, fused_similarity, rerank
from tests.fixtures import arrays
from utils.errors import UserError

QUERY = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
IMAGE = torch.tensor([[0.0, 1.0], [0.8, 0.6], [1.0, 0.0]])
QUERY_IMAGE = [[0.0, 0.8, 1.0], [0.8, 0.96, 0.6]]


def test_fused_similarity_computed_by_hand() -> None:
    """w = 0.25: a quarter of rewrite-caption, three quarters of query-image."""
    rewrite = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    caption = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    found = fused_similarity(QUERY, IMAGE, rewrite, caption, 0.25)
    rewrite_caption = np.array([[1.0, 0.0, 0.8], [0.0, 1.0, 0.6]])
    expected = 0.25 * rewrite_caption + 0.75 * np.array(QUERY_IMAGE)
    assert found.numpy() == pytest.approx(expected)


def test_a_missing_rewrite_or_caption_falls_back_on_the_query_and_the_image() -> None:
    """A row of zeros is not a similarity of zero: that of query and image counts alone."""
    rewrite = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    caption = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    found = fused_similarity(QUERY, IMAGE, rewrite, caption, 0.5)
    assert found.numpy() == pytest.approx(np.array([QUERY_IMAGE[0], [0.5 + 0.4, 0.96, 0.5 + 0.3]]))


@pytest.mark.parametrize(
    ("rewrite", "caption", "weight"), [(None, IMAGE, 0.5), (QUERY, None, 0.5), (QUERY, IMAGE, 0.0)]
)
def test_without_rewrites_captions_or_weight_there_is_one_similarity(
    rewrite: Tensor | None, caption: Tensor | None, weight: float
) -> None:
    """It is query-image, exactly."""
    assert torch.equal(fused_similarity(QUERY, IMAGE, rewrite, caption, weight), QUERY @ IMAGE.T)


def test_only_the_best_images_are_matched() -> None:
    """With k = 2 the head scores each query's two best pairs, and the others fall 100 below."""
    pairs: list[tuple[int, int]] = []

    def match(queries: Tensor, images: Tensor) -> Tensor:
        pairs.extend(zip(queries.tolist(), images.tolist(), strict=True))
        return -images.float()  # the matching head reverses the order

    similarity = torch.tensor(QUERY_IMAGE)
    scores = rerank(similarity, match, 2)
    assert sorted(pairs) == [(0, 1), (0, 2), (1, 0), (1, 1)]
    expected = [[-100 + 0.0, -1 + 0.8, -2 + 1.0], [0 + 0.8, -1 + 0.96, -100 + 0.6]]
    assert scores.numpy() == pytest.approx(np.array(expected), abs=1e-5)
    assert torch.equal(similarity, torch.tensor(QUERY_IMAGE))  # unchanged


def test_unmatched_images_stay_below_and_keep_their_order() -> None:
    """Whatever the logits, the k best stay the k best, and the others keep the order of their similarity."""
    random = torch.Generator().manual_seed(0)
    similarity = torch.rand(7, 20, generator=random) * 2 - 1
    scores = rerank(similarity, lambda queries, images: -20 * torch.rand(len(images), generator=random), 5)
    for row, old in zip(scores, similarity, strict=True):
        before, after = old.argsort(descending=True), row.argsort(descending=True)
        assert set(before[:5].tolist()) == set(after[:5].tolist())
        assert before[5:].tolist() == after[5:].tolist()
        assert row[after[4]] > row[after[5]] + 50


def test_k_of_zero_keeps_the_similarity_and_k_above_the_gallery_matches_all() -> None:
    """k = 0 never calls the head."""
    similarity = torch.tensor(QUERY_IMAGE)
    assert rerank(similarity, lambda *_: pytest.fail("called"), 0) is similarity
    every = rerank(similarity, lambda queries, images: torch.ones(len(images)), 99)
    assert every.numpy() == pytest.approx(np.array(QUERY_IMAGE) + 1)


def test_published_scores_are_reproduced() -> None:
    """The published similarities, fused and re-ranked as in the release (4 images per query)."""
    stored = {name: torch.from_numpy(values) for name, values in arrays("expected").items()}
    logits = stored["itm_logit"]
    for weight, name in ((0.05, "score_w005_k4"), (0.1, "score_w01_k4")):
        similarity = weight * stored["aux_sim"] + (1 - weight) * stored["base_sim"]
        found = rerank(similarity, lambda queries, images: logits[queries, images], 4)
        assert (found - stored[name]).abs().max() < 2e-5
    assert UNMATCHED_OFFSET == -100


def record(name: str, person: int, *captions: str) -> ImageRecord:
    return ImageRecord(Path(name), name, captions, person, "test")


def test_every_caption_is_a_query_with_its_own_rewrite() -> None:
    """Rewrites follow their query; a short list, a failed one and a missing image give None."""
    records = [record("a", 3, "one", "two"), record("b", 4), record("c", 5, "three")]
    texts = {"a": Texts("seen a", ("ONE",)), "b": Texts(None, ())}
    found = build_retrieval_set(records, texts, source="here")
    assert found.queries == ("one", "two", "three")
    assert found.rewrites == ("ONE", None, None)
    assert found.captions == ("seen a", None, None)
    assert found.query_ids.tolist() == [3, 3, 5]
    assert found.gallery_ids.tolist() == [3, 4, 5]
    assert found.source_images.tolist() == [0, 0, 2]
    assert evaluate_queries(np.eye(3), found.query_ids, found.gallery_ids).means() == pytest.approx(
        {"R1": 200 / 3, "R5": 100, "R10": 100, "mAP": 250 / 3, "mINP": 250 / 3}
    )


def test_a_set_that_cannot_be_evaluated_is_refused() -> None:
    """No query, or unknown person ids."""
    with pytest.raises(UserError, match="here has no query"):
        build_retrieval_set([record("a", 3)], source="here")
    with pytest.raises(UserError, match="here: 1 images have no person id"):
        build_retrieval_set([record("a", -1, "one"), record("b", 1, "two")], source="here")

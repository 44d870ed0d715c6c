"""Why an image ranked first: the parts of its score, and the queries that a report shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from retrieval.explanation import ScoreBreakdown, example_rankings
from retrieval.scoring import Scorer
from tests.known_scores import EMBEDDINGS, RETRIEVAL, G, KnownLogits, Q, known_scorer


@pytest.mark.parametrize("share", [0.0, 0.75])
def test_a_score_is_the_sum_of_its_parts(share: float) -> None:
    """The top ten are those of the ranking; without re-ranking or without a text, that part is missing."""
    scorer = known_scorer(share)
    breakdown = ScoreBreakdown(scorer, weight=0.4, k=8)
    scores = scorer.scores(weight=0.4, k=8).numpy()
    for ranking in map(breakdown.ranking, range(Q)):
        order = np.argsort(-scores[ranking.query], kind="stable")
        assert [image.index for image in ranking.top] == order[:10].tolist()
        for image in ranking.top:
            assert image.correct == (RETRIEVAL.gallery_ids[image.index] == RETRIEVAL.query_ids[ranking.query])
            assert (image.logit is None) == (image.rank > 8)
            assert (image.rewrite_caption is None) == (ranking.query == 2 or image.index == 5)
            assert (image.rewrite_image is None) == (image.rewrite_caption is None or not share)
            weight = 0.4 if image.rewrite_caption is not None else 0.0
            rewrite = (1 - share) * (image.rewrite_caption or 0) + share * (image.rewrite_image or 0)
            similarity = weight * rewrite + (1 - weight) * image.query_image
            assert image.similarity == pytest.approx(similarity, abs=1e-6)
            logit = -100.0 if image.logit is None else image.logit
            assert image.score == pytest.approx(similarity + logit, abs=1e-4)
        matches = np.flatnonzero(RETRIEVAL.gallery_ids[order] == RETRIEVAL.query_ids[ranking.query])
        assert (ranking.first_match.rank if ranking.first_match else None) == (matches[0] + 1 if len(matches) else None)
    assert breakdown.ranking(Q - 1).explanation == "No image of the gallery shows this person."


def test_rewrites_are_compared_with_images_as_well() -> None:
    """With all of the share, and the rewrites in place of the queries, nothing changes where both texts exist."""
    rewrite = EMBEDDINGS.rewrite
    assert rewrite is not None
    swapped = Scorer(replace(EMBEDDINGS, query=rewrite), RETRIEVAL, KnownLogits(), 1.0)  # type: ignore[arg-type]
    assert torch.allclose(swapped.similarity(0.6), swapped.query_image, atol=1e-6)
    mixed = Scorer(EMBEDDINGS, RETRIEVAL, KnownLogits(), 1.0).similarity(0.25)  # type: ignore[arg-type]
    assert float(mixed[3, 7]) == pytest.approx(
        float(0.25 * rewrite[3] @ EMBEDDINGS.image[7] + 0.75 * EMBEDDINGS.query[3] @ EMBEDDINGS.image[7]), abs=1e-6
    )


def test_an_explanation_names_what_decided() -> None:
    """The differences of the parts add up to that of the scores."""
    scorer = known_scorer()
    for ranking in map(ScoreBreakdown(scorer, weight=0.4, k=G).ranking, range(Q - 1)):
        text = ranking.explanation.replace("−", "-")
        assert text.startswith(
            f"Rank 1 beats the first {'wrong' if ranking.top[0].correct else 'correct'} image (rank "
        )
        gap, parts = text.removesuffix(".").split(") by ")[1].split(": ")
        assert sum(float(part.split()[-1]) for part in parts.split(", ")) == pytest.approx(float(gap), abs=0.03)
    few = ScoreBreakdown(scorer, weight=0.4, k=1).ranking(0)
    assert "not among the 1 re-ranked images: query and image " in few.explanation


def test_examples_are_the_worst_and_best_queries_of_different_people() -> None:
    scorer = known_scorer()
    examples = example_rankings(ScoreBreakdown(scorer, weight=0.4, k=8), count=5)
    assert [heading.split()[0] for heading in examples] == ["Worst", "Best"]
    worst, best = ([ranking.query for ranking in rankings] for rankings in examples.values())
    precision = scorer.evaluate(weight=0.4, k=8).average_precision
    assert [len(worst), len(best)] == [3, 2]
    assert precision[worst[0]] == 0  # no match
    assert list(precision[worst]) == sorted(precision[worst])
    assert precision[best[0]] == max(precision) >= precision[best[1]] > precision[worst[2]]
    assert len({int(RETRIEVAL.query_ids[query]) for query in worst + best}) == 5
    for ranking in (one for rankings in examples.values() for one in rankings):
        rank = ranking.first_match.rank if ranking.first_match else 0
        assert (ranking.match_below_top is not None) == (rank > 10)

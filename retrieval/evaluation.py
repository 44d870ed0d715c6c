"""Evaluate a model: tune weight and k on the validation split, then score the test split with and without each part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from transformers import BertTokenizer

from models.tsn import TSN
from retrieval.ablation import (
    KS,
    WEIGHTS,
    SweepPoint,
    ablation_rows,
    best_point,
    evaluate_by_camera,
    search_grid,
    sweep,
    sweep_scored_pairs,
)
from retrieval.embed import embed
from retrieval.explanation import ScoreBreakdown
from retrieval.matching import Matcher
from retrieval.options import EvaluationOptions
from retrieval.results import Provenance, Results
from retrieval.retrieval_set import RetrievalSet
from retrieval.scoring import Scorer
from utils.logs import log

Result = TypeVar("Result")


def with_scorer(
    model: TSN,
    tokenizer: BertTokenizer,
    retrieval: RetrievalSet,
    work: Callable[[Scorer], Result],
    *,
    options: EvaluationOptions,
    workers: int,
    desc: str,
) -> Result | None:
    """Embed a retrieval set and return what `work` makes of its scores; None in all but the main process.

    Args:
        workers: processes that load images.
        desc: for the progress bar.
    """
    batch_size, keep = options.batch_size, options.token_precision
    embeddings = embed(model, tokenizer, retrieval, keep_tokens=keep, batch_size=batch_size, workers=workers, desc=desc)
    match = Matcher(model, embeddings, batch_size=batch_size)
    return match.run_on_main(lambda: work(Scorer(embeddings, retrieval, match)))


def tune(scorer: Scorer, options: EvaluationOptions) -> list[SweepPoint]:
    """Return the metrics at the weights and ks to choose from, of which `weight_and_k` takes the best."""
    points = sweep(scorer, *search_grid(options.msm_weight, options.k_test, len(scorer.retrieval.records)))
    weight, k = weight_and_k(options, points)
    log.info(f"tuned on the validation split: weight of the rewrites {weight:g}, {k} re-ranked images per query")
    return points


def weight_and_k(options: EvaluationOptions, points: Sequence[SweepPoint]) -> tuple[float, int]:
    """Return the weight and k of the best point, or the configured ones if nothing was tuned."""
    if points:
        best = best_point(points, options.select_by)
        return best.weight, best.k
    assert not isinstance(options.msm_weight, str)
    assert not isinstance(options.k_test, str)
    return options.msm_weight, options.k_test


def evaluate(
    scorer: Scorer,
    options: EvaluationOptions,
    provenance: Provenance,
    *,
    validation_points: Sequence[SweepPoint] = (),
    full_sweep: bool = False,
    cameras: Sequence[str] = (),
    llm_calls: int | None = None,
) -> Results:
    """Evaluate a test split.

    Args:
        validation_points: metrics on the validation split; empty if weight and k are configured.
        full_sweep: evaluate every weight with every k, rather than what needs no further pairs.
        cameras: [G] of each gallery image, to evaluate on the gallery of each; may be empty.
        llm_calls: that one rewrite took; None if unknown.
    """
    weight, k = weight_and_k(options, validation_points)
    gallery = len(scorer.retrieval.records)
    rows = ablation_rows(scorer, weight=weight, k=k, llm_calls=llm_calls)
    if full_sweep:
        points = sweep(scorer, {*WEIGHTS, weight}, {min(k, gallery), *(one for one in KS if one <= gallery)})
    else:
        points = sweep_scored_pairs(scorer, weight=weight, k=min(k, gallery))
    return Results(
        provenance=provenance,
        rows=rows,
        sweep=points,
        tuned=options.tuned_on_val,
        validation_sweep=validation_points,
        breakdown=ScoreBreakdown(scorer, weight=weight, k=k),
        cameras=evaluate_by_camera(scorer, cameras, weight=weight, k=k) if cameras else {},
    )

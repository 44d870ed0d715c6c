"""Test TSN: Rank-1/5/10, mAP and mINP without and with rewrites (MSM) and matching (ITM), and a report."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from captioning.plan import calls_of_a_rewrite
from configs.load import config_text
from configs.schema import Config
from configs.tested import Tested, choose, parse_test_arguments
from data.captions import query_file
from data.readers import READERS
from models.tokenizer import load_tokenizer
from models.tsn import TSN
from retrieval.ablation import KS, WEIGHTS, Cell, four_rows, pick, ranges, sweep, sweep_what_is_there
from retrieval.answers import Explainer
from retrieval.cameras import cameras_of, judge_by_camera
from retrieval.embed import Embedded, embed
from retrieval.matching import Matcher
from retrieval.results import Results, write_results
from retrieval.retrieval_set import RetrievalSet, read_retrieval_set, with_distractors
from retrieval.scorer import Scorer
from retrieval.tables import text_table
from utils import distributed
from utils.device import explain_out_of_memory, pick_device, pick_precision
from utils.errors import UserError, run_script
from utils.launch import launch, processes_to_start


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_test_arguments(argv, __doc__)
    tested = choose(arguments)
    processes = processes_to_start(tested.config.run.processes, tested.config.run.device)
    if processes > 1:
        return launch([sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)], processes)
    device = pick_device(tested.config.run.device)
    with explain_out_of_memory(), distributed.process_group(device):
        return evaluate(tested, arguments, device)


def evaluate(tested: Tested, arguments: argparse.Namespace, device: torch.device) -> int:
    """Embed, score, judge, explain, and write it all down."""
    start, config = time.monotonic(), tested.config
    records = READERS[config.data.name](Path(config.data.root))
    if config.data.name == "custom" and not any(record.split == "test" and record.captions for record in records):
        print(f"{config.data.root}: no test image has a query in captions.json: there is nothing to test")
        return 0
    texts = query_file(Path(config.captions.dir), config.data.name)
    retrieval = read_retrieval_set(records, "test", texts, root=config.data.root)
    if arguments.distractors:
        retrieval = with_distractors(retrieval, records, *arguments.distractors)
    cameras: list[str] = []
    if arguments.by_camera is not None:
        cameras = cameras_of([record.name for record in retrieval.records], arguments.by_camera or None)
    validation = validation_set(tested.own) if config.eval.tuned_on_val else None

    tokenizer = load_tokenizer(tested.vocabulary)
    image = config.model.image_size
    model = TSN.from_checkpoint(
        tested.checkpoint,
        tokenizer,
        image=(image[0], image[1]) if image else None,
        precision=pick_precision(config.train.precision, device),
    ).to(device)

    def matched(searched: RetrievalSet, desc: str) -> tuple[Embedded, Matcher]:
        batch, workers, kept = config.eval.batch_size, config.train.workers, config.eval.token_precision
        embedded = embed(model, tokenizer, searched, keep_tokens=kept, batch_size=batch, workers=workers, desc=desc)
        return embedded, Matcher(model, embedded, batch_size=batch)

    # The weight of the rewrites, and how many images are matched: as configured, or the best on the validation split.
    weight, k, tried = config.eval.msm_weight, config.eval.k_test, list[Cell]()
    if validation:
        embedded, match = matched(validation, "validation")
        weights, ks = ranges(weight, k, len(validation.records))
        tried = match.led(lambda: sweep(Scorer(embedded, validation, match), weights, ks)) or tried
        if tried:
            best = pick(tried, config.eval.select_by)
            weight, k = best.weight, best.k
            print(f"chosen on the validation split: weight {weight:g}, {k} images matched")

    # Four ways to score: neither part, each alone, both; and the figures over weight and k.
    embedded, match = matched(retrieval, "test")

    def judge() -> Results:
        scorer = Scorer(embedded, retrieval, match)
        assert not isinstance(weight, str)
        assert not isinstance(k, str)
        rows = four_rows(scorer, weight=weight, k=k, calls=calls_of_a_rewrite(texts))
        gallery = len(retrieval.records)
        if arguments.ablation:
            cells = sweep(scorer, {*WEIGHTS, weight}, {rows[-1].k, *(one for one in KS if one <= gallery)})
        else:
            cells = sweep_what_is_there(scorer, weight=weight, k=rows[-1].k)
        return Results(
            rows=rows,
            cells=cells,
            validation=tried,
            by_validation=config.eval.tuned_on_val,
            explainer=Explainer(scorer, retrieval, weight=weight, k=k),
            retrieval=retrieval,
            cameras=judge_by_camera(scorer, retrieval, cameras, weight=weight, k=k) if cameras else {},
            data=config.data.name,
            root=config.data.root,
            trained_on=tested.trained_on,
            chosen_on=tested.chosen_on,
            checkpoint=tested.checkpoint,
            weight=weight,
            k=k,
        )

    results = match.led(judge)
    if results is None:  # the first process writes
        return 0
    print("\n".join([text_table(results.rows), *results.notes]))
    write_results(
        tested.folder / (f"with_{arguments.distractors[0].resolve().name}" if arguments.distractors else ""),
        results,
        run=tested.run,
        examples=config.eval.examples,
        settings=config_text(config),
        facts={
            "Model": f"{config.model.preset}, images of {model.sizes.image[0]} x {model.sizes.image[1]} pixels",
            "Seed": str(config.train.seed),
            "Device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            "Test took": f"{time.monotonic() - start:.0f} s",
        },
    )
    return 0


def validation_set(config: Config) -> RetrievalSet:
    """The queries and the gallery on which weight and k are chosen: those of the data that the run learnt from."""
    records = READERS[config.data.name](Path(config.data.root))
    if not any(record.split == "val" for record in records):
        what = "eval.msm_weight=val and eval.k_test=val choose on a validation split"
        raise UserError(f"{what}, and {config.data.root} has none: set both to numbers")
    file = query_file(Path(config.captions.dir), config.data.name, "val")
    return read_retrieval_set(records, "val", file, root=config.data.root)


if __name__ == "__main__":
    run_script(main)

"""Test TSN: Rank-1/5/10, mAP and mINP with and without rewrites (MSM) and matching (ITM), and a report."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - first, so that Ctrl-C while libraries load ends in one line

# isort: split
import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from captioning.job.journal import calls_per_rewrite
from configs.evaluation import EvaluationTarget, parse_arguments, select_target
from configs.load import config_text
from data.captions import query_file
from data.readers import READERS
from retrieval.retrieval_set import read_retrieval_set, read_validation_set, with_distractors
from utils.errors import run_script
from utils.logs import log

# Modules that load torch, which takes seconds, are imported inside the functions, so that --help does not load it.


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse_arguments(argv, __doc__)
    target = select_target(arguments)

    from utils.device import explain_out_of_memory, pick_device
    from utils.distributed import process_group
    from utils.launch import launch, processes_to_start

    run = target.config.run
    processes = processes_to_start(run.processes, run.device)
    if processes > 1:
        return launch([sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)], processes)
    with process_group(pick_device(run.device)), explain_out_of_memory():
        return test(target, arguments)


def test(target: EvaluationTarget, arguments: argparse.Namespace) -> int:
    """Embed the test split, score it with the tuned weight and k, evaluate, and write the results."""
    start, config, data = time.monotonic(), target.config, target.config.data
    records = READERS[data.name](Path(data.root))
    if data.name == "custom" and not any(record.split == "test" and record.captions for record in records):
        log.info(f"{data.root}: no test image has a query in captions.json, so there is nothing to test")
        return 0
    texts = query_file(Path(config.captions.dir), data.name)
    retrieval = read_retrieval_set(records, "test", texts, root=data.root)
    if arguments.distractors:
        retrieval = with_distractors(retrieval, records, *arguments.distractors)

    import torch

    from models.tokenizer import load_tokenizer
    from models.tsn import TSN, TSNOptions
    from retrieval.ablation import camera_names, tune
    from retrieval.results import Provenance, evaluate, write_results
    from retrieval.scoring import with_scorer
    from utils.device import pick_device, pick_precision

    names = [record.name for record in retrieval.records]
    cameras = [] if arguments.by_camera is None else camera_names(names, arguments.by_camera or None)
    device, size = pick_device(config.run.device), config.model.image_size
    image, precision = (size[0], size[1]) if size else None, pick_precision(config.train.precision, device)
    tokenizer = load_tokenizer(target.vocabulary)
    options = TSNOptions(precision=precision)
    model = TSN.from_checkpoint(target.checkpoint, tokenizer, image_size=image, options=options).to(device)
    scored = partial(with_scorer, model, tokenizer, options=config.eval, workers=config.train.workers)

    # The weight of the rewrites and the number of re-ranked images: as configured, or the best on the validation split.
    points = None
    if config.eval.tuned_on_val:
        trained = target.run_config
        validation = read_validation_set(trained.data.name, trained.data.root, Path(trained.captions.dir))
        points = scored(validation, partial(tune, options=config.eval), desc="validation")

    source = Provenance(data.name, data.root, target.trained_on, target.selected_on, target.checkpoint)
    final = partial(evaluate, options=config.eval, provenance=source, validation_points=points or ())
    final = partial(final, full_sweep=arguments.ablation, cameras=cameras, llm_calls=calls_per_rewrite(texts))
    results = scored(retrieval, final, desc="test")
    if results is None:  # only the main process has results
        return 0
    setup = {
        "Model": f"{config.model.preset}, {model.sizes.image[0]} x {model.sizes.image[1]} pixels",
        "Seed": str(config.train.seed),
        "Device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "Test took": f"{time.monotonic() - start:.0f} s",
    }
    run, text, examples = Path(config.run.dir), config_text(config), config.eval.examples
    write_results(target.output, results, run=run, examples=examples, config=text, setup=setup)
    return 0


if __name__ == "__main__":
    run_script(main)

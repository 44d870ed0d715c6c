"""Describe the test photographs and rewrite the queries (MSM, test side): <data>_test_qwen_gen_captions.json.

The same for the validation split where the config chooses something by its rewrites.
"""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from captioning.backends import CAPTIONERS, REWRITERS, services
from captioning.conclusion import begin_restart, conclude, end_restart, open_journal
from captioning.generate import describing, rewriting
from captioning.options import add_options, read_options, restarting
from captioning.plan import read_answers
from configs.load import add_config_arguments, load_config
from data.captions import TestTexts, check_same_data, query_file, read_test_texts, write_test_texts
from data.readers import READERS, of_split
from utils.errors import UserError, run_script


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    add_options(parser)
    arguments = parser.parse_args(argv)
    options = read_options(arguments)
    config = load_config(arguments.config, arguments.overrides)
    for_images, for_queries = services(asdict(config.captioner), config.run.device)
    captioner = CAPTIONERS[config.captioner.backend](for_images)
    rewriter = REWRITERS[config.captioner.rewriter](for_queries)

    every = READERS[config.data.name](Path(config.data.root))
    there = {record.split for record in every}
    splits = [split for split in config.eval.rewritten_splits if split in there]
    if "val" in config.eval.rewritten_splits and "val" not in there:
        keys = ", ".join(f"eval.{name}" for name in config.eval.tuned_on_val or ["select_weight"])
        raise UserError(f"{keys}: {config.data.root} has no validation split to rewrite the queries of: set a number")
    if config.data.name == "custom" and "test" not in there:
        print(f"{config.data.root} has no test split: there is nothing to describe or rewrite")
    elif "test" not in there:
        raise UserError(f"{config.data.root} has no image in its test split")

    def generate(split: Literal["val", "test"]) -> int:
        """Captions and rewrites of one split; the exit status."""
        records = of_split(every, split, source=config.data.root)
        file = query_file(Path(config.captions.dir), config.data.name, split)
        texts = read_test_texts(file) if file.exists() else {}
        check_same_data(texts, records, file)
        if options.restart and not options.dry_run:
            begin_restart(file)
        if options.restart or restarting(file):
            texts = {}  # until all is asked anew

        # What is there stays, whoever wrote it; only what is missing, or is of another photograph, is asked for.
        captions = {name: own.caption for name, own in texts.items() if own.caption}
        rewrites = {
            (record.name, query): texts[record.name].rewrite_of(query, number) if record.name in texts else None
            for record in records
            for number, query in enumerate(record.captions)
        }
        unwritten = {query for (_, query), text in rewrites.items() if not text}
        written = {query: text for (_, query), text in rewrites.items() if text and query not in unwritten}
        errands = [
            describing(captioner, for_images, records, captions),
            rewriting(rewriter, for_queries, [query for _, query in rewrites], written),
        ]
        past = read_answers(file, options)
        for errand in errands:
            errand.look(past, options)
        if options.dry_run:
            for errand in errands:
                print(f"{file}: {errand.estimate(past, options)}")
            return 0
        if all(errand.plan.finished for errand in errands):
            by_others = [errand.plan.by_others(errand.name) for errand in errands]
            print(
                f"{file}: all {len(records)} {split} images have captions{by_others[0]}, "
                f"and all their queries rewrites{by_others[1]}"
            )
            return 0
        with open_journal(file, options) as journal:
            for errand in errands:
                errand.run(journal, past, options)

        if not options.shard:
            described, reworded = (errand.plan.kept | errand.made for errand in errands)
            for record in records:
                own = tuple(rewrites[record.name, query] or reworded.get(query) for query in record.captions)
                if record.name in described or any(own):
                    texts[record.name] = TestTexts(described.get(record.name), own, record.captions)
            write_test_texts(file, records, texts)
            end_restart(file)
        for errand in errands:
            print(f"{journal.path if options.shard else file}: {errand.summary()}")
        return conclude(errands, options, "gen_test_data.py", argv)

    return max((generate(split) for split in splits), default=0)


if __name__ == "__main__":
    run_script(main)

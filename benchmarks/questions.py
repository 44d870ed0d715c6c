"""What the questions of a search are worth: Rank-1 after 0, 1, 2 answers of simulated users.

python -m benchmarks.questions configs/cuhk_pedes.yaml --set data.root=datasets/CUHK-PEDES

The queries are the sentences of a split. A user answers a question with what the other sentence about the same
photograph says, as the rules read it, or says that it is not known. Without --run, the shipped weights are used.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import search
from captioning.rules import read
from configs.load import add_config_arguments, load_config
from configs.search import parse_arguments, select_source, with_gallery
from data.readers import READERS, of_split
from retrieval.gallery import Gallery
from utils.errors import run_script
from utils.progress import progress


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="search with the model of this run")
    parser.add_argument("--answers", type=int, default=2, help="questions that are answered (default: %(default)s)")
    parser.add_argument("--split", choices=("val", "test"), default="test", help="(default: %(default)s)")
    add_config_arguments(parser, default="configs/cuhk_pedes.yaml")
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    records = of_split(READERS[config.data.name](Path(config.data.root)), arguments.split, source=config.data.root)
    people = {record.name: record.person_id for record in records}
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        model = ["--run", str(arguments.run)] if arguments.run else []
        given = parse_arguments(["index", str(records[0].path.parent), "--index", str(index), *model], "")
        source = with_gallery(select_source(given), config, arguments.split)
        search.build(index, source, given)
        gallery = Gallery.open(index)
        ranks: list[list[int]] = [[] for _ in range(arguments.answers + 1)]
        for record in progress(records, total=len(records), desc="asking", unit="photograph"):
            for number, sentence in enumerate(record.captions):
                other = read(record.captions[number - 1])
                answers: dict[str, str | None] = {}
                for given_answers in range(arguments.answers + 1):
                    results = gallery.search(sentence, top=len(records), answers=answers, rerank=0)
                    ranks[given_answers].append(
                        next(hit.rank for hit in results.hits if people[hit.path] == record.person_id)
                    )
                    if results.question:
                        answers = answers | {results.question.slot: getattr(other, results.question.slot)}
    for number, found in enumerate(ranks):
        first, ten = (100 * sum(rank <= k for rank in found) / len(found) for k in (1, 10))
        print(f"{number} answers: Rank-1 {first:.1f}, Rank-10 {ten:.1f} ({len(found)} sentences)")


if __name__ == "__main__":
    run_script(main)

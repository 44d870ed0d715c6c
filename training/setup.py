"""Set up a run: its training and validation data, its vocabulary and its initial model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertTokenizer

from captioning.paraphrase import random_paraphrase, vocabulary_texts
from data.captions import CaptionsOptions, query_file, read_test_texts, train_file
from data.images import ImageOpener
from data.pairs import Paraphrase, UnlabelledPairs, load_training_pairs
from data.readers import READERS, of_split
from data.records import DataOptions, ImageRecord, hold_out, person_ids
from data.transforms import cached_opener
from models.options import PRESETS, ModelOptions
from models.tokenizer import build_tokenizer
from models.tsn import TSN, build_model
from retrieval.options import EvaluationOptions
from retrieval.retrieval_set import RetrievalSet, build_retrieval_set
from training.options import PseudoLabelOptions, TrainingOptions
from training.run_folder import fingerprint
from training.schedule import derived_seed
from utils import distributed
from utils.device import pick_precision
from utils.errors import UserError


@dataclass(frozen=True)
class TrainingData:
    """The training and validation data of a run.

    Attributes:
        pairs: images with generated captions, without person ids.
        source: the pairs of the source data set (`cluster.source_name`), if its weight is not 0.
        validation: queries and gallery that select the best epoch; None if the last epoch is kept.
        person_ids: [N] true ids of the pairs, if known; used only to report the quality of the pseudo-labels.
    """

    pairs: UnlabelledPairs
    source: UnlabelledPairs | None
    validation: RetrievalSet | None
    person_ids: NDArray[np.int64] | None

    def identity(self) -> dict[str, object]:
        """Fingerprints of the pairs, which must be the same when a run is resumed."""
        sets = {"the training pairs": self.pairs} | ({"the source pairs": self.source} if self.source else {})
        return {
            # File sizes reveal nearly every image that was replaced by another one of the same name.
            name: fingerprint([*pairs.names, *pairs.texts, *(str(path.stat().st_size) for path in pairs.paths)])
            for name, pairs in sets.items()
        }


def load_training_data(
    data: DataOptions,
    captions: CaptionsOptions,
    cluster: PseudoLabelOptions,
    evaluation: EvaluationOptions,
    *,
    seed: int,
) -> TrainingData:
    """Read the training pairs, the source pairs and the validation set.

    Args:
        captions: folders of the caption files.
        seed: seed of the random choice of held-out identities.

    Raises:
        UserError: a file is missing or broken, or nothing is left to train on.
    """
    records = READERS[data.name](Path(data.root))
    train_records = of_split(records, "train", source=data.root)
    held_out: list[ImageRecord] = []
    if evaluation.select == "held_out":
        train_records, held_out = hold_out(train_records, evaluation.held_out, seed)
    folder, others = Path(captions.dir), [train_file(Path(other), data.name) for other in captions.others]
    pairs = load_training_pairs(train_records, train_file(folder, data.name), others)
    validation = _validation_set(data, folder, evaluation, records, held_out)
    source = _source_pairs(folder, cluster)
    return TrainingData(pairs, source, validation, person_ids(pairs.names, train_records))


def _source_pairs(captions: Path, cluster: PseudoLabelOptions) -> UnlabelledPairs | None:
    if not cluster.source_weight:
        return None
    if cluster.source_name is None or cluster.source_root is None:
        raise UserError("cluster.source_weight needs cluster.source_name and cluster.source_root")
    try:
        records = of_split(READERS[cluster.source_name](Path(cluster.source_root)), "train", source=cluster.source_root)
    except UserError as error:
        raise UserError(str(error).replace("data.root", "cluster.source_root")) from None
    return load_training_pairs(records, train_file(captions, cluster.source_name))


def _validation_set(
    data: DataOptions,
    captions: Path,
    evaluation: EvaluationOptions,
    records: list[ImageRecord],
    held_out: list[ImageRecord],
) -> RetrievalSet | None:
    split = evaluation.select
    if split == "last":
        return None
    chosen = held_out or [record for record in records if record.split == split]
    if not chosen:
        raise UserError(f"{data.root} has no {split} split to select the best epoch on: set eval.select=last")
    if not evaluation.select_weight:
        return build_retrieval_set(chosen, source=f"{data.root} ({split})")
    file = query_file(captions, data.name, "val" if split == "val" else "test")
    if split == "held_out" or not file.is_file():
        raise UserError(f"eval.select_weight needs eval.select=test or val, and rewrites in {file} (gen_test_data.py)")
    return build_retrieval_set(chosen, read_test_texts(file), source=f"{data.root} ({split})")


@dataclass(frozen=True)
class ModelFactory:
    """Builds the initial model of a run, the same at every call, and holds its tokenizer and paraphraser.

    Attributes:
        tokenizer: with the vocabulary of the run.
        paraphrase: randomly rewords training captions, or None.
        build: returns the initial model, with seeded random weights or those of `model.init`.
    """

    tokenizer: BertTokenizer
    paraphrase: Paraphrase | None
    build: Callable[[], TSN]


def model_factory(
    model: ModelOptions, train: TrainingOptions, captions: tuple[str, ...], vocabulary: Path, device: torch.device
) -> ModelFactory:
    """Prepare the vocabulary (saved to the file `vocabulary`) and the initial model of a run.

    Raises:
        UserError: the vocabulary or the initial weights cannot be read, or random weights would be kept.
    """
    if train.freeze_text and model.init is None:
        raise UserError(
            "train.freeze_text would keep random weights: set it to false, or model.init to trained weights"
        )
    paraphrase = None
    texts = list(captions)
    if train.paraphrase:
        reword = partial(random_paraphrase, train.paraphrase, captions, fill_unused=model.init is None)
        texts, paraphrase = vocabulary_texts(captions, reword()), reword(unknown_words=True)

    def write_vocabulary() -> None:
        build_tokenizer(model.vocabulary, texts, vocabulary)

    distributed.run_on_main(write_vocabulary)
    tokenizer = build_tokenizer(model.vocabulary, texts, vocabulary)

    def build() -> TSN:
        seed, precision = derived_seed(train.seed), pick_precision(train.precision, device)
        return build_model(tokenizer, model, seed=seed, negatives=train.negatives, precision=precision)

    return ModelFactory(tokenizer, paraphrase, build)


def image_opener(data: TrainingData, model: ModelOptions, train: TrainingOptions, folder: Path) -> ImageOpener:
    """Return a function that opens training and validation images, cached as `train.cache` configures."""
    gallery = [record.path for record in data.validation.records] if data.validation else []
    size = model.size or PRESETS[model.preset].image
    return cached_opener(train.cache, [*data.pairs.paths, *gallery], size, folder)

"""Train TSN: rounds of fused features -> pseudo-labels -> epochs of itc, itm and id losses -> validation."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import BertTokenizer

from captioning.paraphrase import paraphrase_some, texts_to_learn_words_from
from clustering.pseudo_labels import PseudoLabels, assign_pseudo_labels
from clustering.quality import describe_quality, label_quality
from configs.identity import run_identity
from configs.load import add_config_arguments, load_config, save_config
from configs.schema import Config
from data.cache import ImageCache
from data.captions import read_test_texts, test_file, train_file
from data.images import Opener, open_image
from data.pairs import UnlabelledPairs
from data.readers import READERS, of_split
from data.records import ImageRecord, person_ids
from models.build import build_model, build_tokenizer
from models.sizes import PRESETS
from models.tsn import TSN
from retrieval.retrieval_set import RetrievalSet, build_retrieval_set
from retrieval.validation import validate
from training.batches import pseudo_labelled_batches
from training.epoch import train_epoch
from training.features import fused_features
from training.run_folder import RunFolder, fingerprint
from training.schedule import build_optimizer, build_scaler, derived_seed, learning_rates
from training.training_pairs import load_training_pairs
from utils.device import pick_device
from utils.errors import UserError, run_script
from utils.precision import pick_precision

WARM_UP = -1  # the round before the first clustering
NONE_YET = -1.0  # below every figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    train = config.train
    device = pick_device(config.run.device)
    # On the CPU the same seed gives the same bits, however many threads add up the gradients of shared negatives.
    torch.use_deterministic_algorithms(device.type == "cpu")

    # What there is to learn from: photographs and generated captions, nobody's identity.
    records = READERS[config.data.name](Path(config.data.root))
    train_records = of_split(records, "train", source=config.data.root)
    pairs = load_training_pairs(train_records, train_file(Path(config.captions.dir), config.data.name))
    source = source_pairs(config)
    validation = validation_set(config, records)

    run = RunFolder(Path(config.run.dir), identity(config, pairs, source))
    save_config(config, run.path / "config.yaml")
    state = run.load_state()
    paraphrase = paraphrase_some(train.paraphrase, pairs.captions) if train.paraphrase else None
    words = texts_to_learn_words_from(pairs.captions, paraphrase)
    tokenizer = build_tokenizer(config.model.vocab, words, run.path / "vocab.txt")
    opener = photographs(config, pairs, validation)

    def starting_model() -> TSN:
        """The weights that a round starts from: the initial ones, or the best of the round before."""
        model = initial_model(config, tokenizer)
        return model if train.restart else run.load_round(model)

    def pseudo_labels(round_number: int, eps: float | None) -> PseudoLabels:
        """Who might be the same person: by distinct captions before the first round, by clustering from then on."""
        if round_number == WARM_UP:
            return PseudoLabels(pairs.caption_groups(), eps=0.0)
        if stored := run.load_labels(round_number):
            return PseudoLabels(*stored)
        model = run.load_round(initial_model(config, tokenizer)).to(device)
        features = partial(
            fused_features,
            model,
            tokenizer,
            batch_size=config.eval.batch_size,
            workers=train.workers,
            opener=opener,
        )
        found = assign_pseudo_labels(
            features(pairs, desc=f"round {round_number}: features"),
            source=features(source, desc="source features") if source else None,
            source_weight=config.cluster.source_weight,
            k1=config.cluster.k1,
            k2=config.cluster.k2,
            eps=eps if eps and config.cluster.freeze_eps else config.cluster.eps,
            min_samples=config.cluster.min_samples,
            metric=config.cluster.metric,
        )
        if found.clusters < 2:
            what, hint = ("every image is noise", "larger") if not found.clusters else ("all are one", "smaller")
            raise UserError(f"round {round_number}: {what} at eps={found.eps:.4f}: set a {hint} cluster.eps")
        run.save_labels(round_number, found.labels, eps=found.eps, names=pairs.names)
        return found

    best, eps = (state["memory"]["best"], state["memory"]["eps"]) if state else (NONE_YET, None)
    first_round = state["round"] if state else (WARM_UP if train.warmup_epochs else 0)
    for round_number in range(first_round, train.rounds):
        name = "warm-up" if round_number == WARM_UP else f"round {round_number}"
        epochs, lr = train.epochs, train.lr
        if round_number == WARM_UP:
            epochs, lr = train.warmup_epochs, train.warmup_lr or train.lr
        labelled = pseudo_labels(round_number, eps)
        resumed = state if state and state["round"] == round_number else None
        if round_number != WARM_UP:
            eps = labelled.eps
        if round_number != WARM_UP and not resumed:
            # Ids are read here alone, for the report; nothing that follows sees them.
            quality = label_quality(labelled.labels, person_ids(pairs.names, train_records))
            run.log("labels", round=round_number, eps=eps, **quality)
            print(f"{name}: {describe_quality(quality)}, eps {eps:.4f}", flush=True)

        model = starting_model().to(device)
        torch.manual_seed(derived_seed(train.seed, 1, round_number + 1))
        model.set_classes(labelled.clusters)
        optimizer = build_optimizer(model, lr=lr, weight_decay=train.weight_decay, beta2=train.beta2)
        scaler = build_scaler(model.precision, device)
        if train.compile:
            model.compile_encoders()
        best_of_round = NONE_YET
        if resumed:
            model.load_state_dict(resumed["model"])
            optimizer.load_state_dict(resumed["memory"]["optimizer"])
            scaler.load_state_dict(resumed["memory"].get("scaler", {}))
            best_of_round = resumed["memory"]["best_of_round"]

        for epoch in range(resumed["epoch"] if resumed else 0, epochs):
            start = time.monotonic()
            seed = derived_seed(train.seed, 2, round_number + 1, epoch)
            batches = pseudo_labelled_batches(
                pairs,
                labelled.labels,
                image=model.sizes.image,
                augment=train.augment,
                paraphrase=paraphrase,
                batch_size=train.batch_size,
                workers=train.workers,
                seed=seed,
                opener=opener,
            )
            rates = learning_rates(lr, epoch=epoch, epochs=epochs, steps=len(batches), ramp_steps=train.ramp_steps)
            torch.manual_seed(seed)
            losses = train_epoch(
                model,
                tokenizer,
                optimizer,
                batches,
                torch.from_numpy(labelled.labels),
                learning_rates=rates,
                # Before image and text are aligned, the hardest negatives teach a random head nothing.
                matching=round_number != WARM_UP,
                clip_norm=train.clip_norm,
                accumulate=train.accumulate,
                scaler=scaler,
                log_every=train.log_every,
                on_step=partial(run.log, "step", round=round_number, epoch=epoch),
                desc=f"{name}, epoch {epoch}",
            )
            seconds = time.monotonic() - start
            speed = len(batches) * train.batch_size / seconds
            run.log(
                "epoch", round=round_number, epoch=epoch, lr=rates[-1], seconds=seconds, images_per_s=speed, **losses
            )
            line = f"{name}, epoch {epoch}: loss {losses['loss']:.3f}, {speed:.0f} images/s"

            figures: dict[str, float] = {}
            if validation is not None:
                figures = validate(
                    model,
                    tokenizer,
                    validation,
                    k=config.eval.select_k,
                    weight=config.eval.select_weight,
                    batch_size=config.eval.batch_size,
                    opener=opener,
                )
                run.log("validation", round=round_number, epoch=epoch, split=config.eval.select, **figures)
                line += f", {config.eval.select} R1 {figures['R1']:.1f}, mAP {figures['mAP']:.1f}"
            print(line, flush=True)

            # Without a split that chooses, every epoch is better than the one before.
            figure = figures.get(config.eval.select_by, best + 1)
            is_best, is_best_of_round = figure > best, figure > best_of_round
            best, best_of_round = max(best, figure), max(best_of_round, figure)
            run.save_epoch(
                {
                    "model": model.state_dict(),
                    "sizes": model.sizes.to_dict(),
                    "round": round_number,
                    "epoch": epoch + 1,
                    "validation": figures,
                    "config": config.model_dump(),
                },
                {
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "best": best,
                    "best_of_round": best_of_round,
                    "eps": eps,
                },
                best=is_best,
                best_of_round=is_best_of_round,
            )
    print(f"trained: {run.path / 'best.pth'}")


def initial_model(config: Config, tokenizer: BertTokenizer) -> TSN:
    """The model that a run starts from: seeded random weights, or the configured ones."""
    model, image = config.model, config.model.image_size
    return build_model(
        tokenizer,
        preset=model.preset,
        init=Path(model.init) if model.init else None,
        image=(image[0], image[1]) if image else None,
        seed=derived_seed(config.train.seed),
        dropout=model.dropout,
        negatives=config.train.negatives,
        fuse_padding=model.fuse_padding,
        precision=pick_precision(config.train.precision, pick_device(config.run.device)),
        checkpointed_blocks=model.checkpointed_blocks,
        offload=model.offload,
    )


def photographs(config: Config, pairs: UnlabelledPairs, validation: RetrievalSet | None) -> Opener:
    """Where photographs come from: files, or memory for what every epoch looks at."""
    if not config.train.cache:
        return open_image
    gallery = [record.path for record in validation.records] if validation else []
    image = config.model.image_size or PRESETS[config.model.preset].image
    return ImageCache([*pairs.paths, *gallery], (image[0], image[1]))


def source_pairs(config: Config) -> UnlabelledPairs | None:
    """The pairs of the source set, where one is configured."""
    cluster = config.cluster
    if not cluster.source_weight:
        return None
    if cluster.source_name is None or cluster.source_root is None:
        raise UserError("cluster.source_weight needs cluster.source_name and cluster.source_root")
    try:
        records = of_split(READERS[cluster.source_name](Path(cluster.source_root)), "train", source=cluster.source_root)
    except UserError as error:
        raise UserError(str(error).replace("data.root", "cluster.source_root")) from None
    return load_training_pairs(records, train_file(Path(config.captions.dir), cluster.source_name))


def validation_set(config: Config, records: list[ImageRecord]) -> RetrievalSet | None:
    """The queries and gallery that choose the best epoch; None where the last epoch is taken."""
    split = config.eval.select
    if split == "last":
        return None
    chosen = [record for record in records if record.split == split]
    if not chosen:
        raise UserError(f"{config.data.root} has no {split} split to choose the best epoch on: set eval.select=last")
    if not config.eval.select_weight:
        return build_retrieval_set(chosen, source=f"{config.data.root} ({split})")
    file = test_file(Path(config.captions.dir), config.data.name)
    if split != "test" or not file.is_file():
        raise UserError(f"eval.select_weight needs eval.select=test and the rewrites in {file} (gen_test_data.py)")
    return build_retrieval_set(chosen, read_test_texts(file), source=f"{config.data.root} ({split})")


def identity(config: Config, pairs: UnlabelledPairs, source: UnlabelledPairs | None) -> dict[str, object]:
    """What makes this run this run: settings, and what it learns from."""
    learnt_from = {"the training pairs": pairs} | ({"the source pairs": source} if source else {})
    return run_identity(config) | {
        # A photograph that was replaced under its name has another size, but for a rare chance.
        what: fingerprint([*of.names, *of.captions, *(str(path.stat().st_size) for path in of.paths)])
        for what, of in learnt_from.items()
    }


if __name__ == "__main__":
    run_script(main)

"""Train TSN: rounds of fused features -> pseudo-labels -> epochs of itc, itm and id losses -> validation."""

from __future__ import annotations

import utils.interrupts  # noqa: F401 - before what takes long to load

# isort: split
import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from numpy.typing import NDArray
from transformers import BertTokenizer

from captioning.paraphrase import paraphrase_some, texts_to_learn_words_from
from clustering.pseudo_labels import PseudoLabels
from configs.load import add_config_arguments, load_config, run_identity, save_config
from configs.schema import Config
from data.captions import query_file, read_test_texts, train_file
from data.images import Opener
from data.mapped import kept_images
from data.pairs import UnlabelledPairs
from data.readers import READERS, of_split
from data.records import ImageRecord, hold_out, person_ids
from models.build import build_model, build_tokenizer
from models.sizes import PRESETS
from models.tsn import TSN
from retrieval.retrieval_set import RetrievalSet, build_retrieval_set
from retrieval.validation import validate
from training.batches import pseudo_labelled_batches
from training.board import Board
from training.epoch import train_epoch
from training.features import fused_features
from training.keeper import NONE_YET, Keeper
from training.labelling import labels_of_round, tell_quality
from training.run_folder import RunFolder, fingerprint
from training.schedule import build_optimizer, build_scaler, derived_seed, learning_rates
from training.training_pairs import load_training_pairs
from utils import distributed
from utils.device import explain_out_of_memory, pick_device, pick_precision
from utils.errors import UserError, run_script
from utils.interrupts import GracefulShutdown, exit_cleanly_on_sigterm
from utils.launch import launch, processes_to_start

WARM_UP = -1  # the round before the first clustering


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    arguments = parser.parse_args(argv)
    config = load_config(arguments.config, arguments.overrides)
    batch, each = config.train.batch_size, config.train.images_per_identity
    if each and batch % each:
        raise UserError(f"train.batch_size={batch} is no multiple of train.images_per_identity={each}")
    processes = processes_to_start(config.run.processes, config.run.device, batch)
    if processes > 1:
        return launch([sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)], processes)
    device = pick_device(config.run.device)
    with exit_cleanly_on_sigterm(), explain_out_of_memory(), distributed.process_group(device):
        return train_rounds(config, device)


def train_rounds(config: Config, device: torch.device) -> int:
    """The whole run; the exit status is 0 also where it was told to end and saved what it had."""
    train = config.train
    # On the CPU the same seed gives the same bits, however many threads add up the gradients of shared negatives.
    torch.use_deterministic_algorithms(device.type == "cpu")

    # What there is to learn from: photographs and generated captions, nobody's identity.
    records = READERS[config.data.name](Path(config.data.root))
    train_records = of_split(records, "train", source=config.data.root)
    held: list[ImageRecord] = []
    if config.eval.select == "held_out":
        train_records, held = hold_out(train_records, config.eval.held_out, train.seed)
    pairs = load_training_pairs(train_records, train_file(Path(config.captions.dir), config.data.name))
    source = source_pairs(config)
    validation = validation_set(config, records, held)

    run = RunFolder(Path(config.run.dir), identity(config, pairs, source))
    state = run.load_state()
    if config.run.tensorboard and distributed.is_main_process():
        run.board = Board(run.path)
    paraphrase = paraphrase_some(train.paraphrase, pairs.captions) if train.paraphrase else None
    tokenizer = vocabulary(config, run, texts_to_learn_words_from(pairs.captions, paraphrase))
    opener = photographs(config, pairs, validation)

    def starting_model() -> TSN:
        """The weights that a round starts from: the initial ones, or the best of the round before."""
        model = initial_model(config, tokenizer)
        return model if train.reinit_each_round else run.load_round(model)

    def features(round_number: int) -> tuple[NDArray, NDArray | None]:
        """Fused features of the training pairs and of the source pairs, by the best model so far."""
        model = run.load_round(initial_model(config, tokenizer)).to(device)
        fused = partial(
            fused_features, model, tokenizer, batch_size=config.eval.batch_size, workers=train.workers, opener=opener
        )
        own = fused(pairs, desc=f"round {round_number}: features")
        return own, fused(source, desc="source features") if source else None

    judged = partial(
        validate,
        k=config.eval.select_k,
        weight=config.eval.select_weight,
        batch_size=config.eval.batch_size,
        tokens=config.eval.token_precision,
        opener=opener,
    )
    best, eps = (state["memory"]["best"], state["memory"]["eps"]) if state else (NONE_YET, None)
    first_round = state["round"] if state else (WARM_UP if train.pretrain_epochs else 0)
    for round_number in range(first_round, train.rounds):
        resumed = state if state and state["round"] == round_number else None
        if round_number == WARM_UP:
            # Who might be the same person, before there are features to cluster: those who are described alike.
            name, epochs, lr = "warm-up", train.pretrain_epochs, train.pretrain_lr or train.lr
            labelled = PseudoLabels(pairs.caption_groups(), eps=0.0)
        else:
            name, epochs, lr = f"round {round_number}", train.epochs, train.lr
            options = {
                key: value
                for key, value in asdict(config.cluster).items()
                if key not in ("freeze_eps", "source_name", "source_root")
            }
            if eps and config.cluster.freeze_eps:
                options["eps"] = eps
            labelled = labels_of_round(
                run, round_number, partial(features, round_number), names=pairs.names, device=device, **options
            )
            eps = labelled.eps
            if not resumed:
                tell_quality(run, round_number, labelled, person_ids(pairs.names, train_records))

        model = starting_model().to(device)
        torch.manual_seed(derived_seed(train.seed, 1, round_number + 1))
        model.set_classes(labelled.clusters)
        optimizer = build_optimizer(model, lr=lr, weight_decay=train.weight_decay, beta2=train.beta2)
        scaler = build_scaler(model.precision, device)
        if train.compile:
            model.compile_encoders()
        keeper = Keeper(
            run,
            model,
            optimizer,
            scaler,
            round_number=round_number,
            eps=eps,
            best=best,
            config=config.to_dict(),
            minutes=train.save_minutes,
            resumed=resumed,
            name=config.eval.select_by,
        )
        while keeper.epoch < epochs and not (train.patience and keeper.fruitless >= train.patience):
            epoch, start = keeper.epoch, time.monotonic()
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
                # The warm-up's classes are captions, of which each must meet others.
                each=None if round_number == WARM_UP else train.images_per_identity,
                first=keeper.midway.step if keeper.midway else 0,
            )
            steps = len(batches) + (keeper.midway.step if keeper.midway else 0)
            rates = learning_rates(lr, epoch=epoch, epochs=epochs, steps=steps, warmup_steps=train.warmup_steps)
            torch.manual_seed(seed + distributed.rank())
            with GracefulShutdown("stopping after this step, and saving") as shutdown:
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
                    midway=keeper.midway,
                    after_step=partial(keeper.after_step, shutdown),
                    names=pairs.names,
                    desc=f"{name}, epoch {epoch}",
                )
            if losses is None:
                return shutdown.exit_status()
            seconds, done = time.monotonic() - start, {"round": round_number, "epoch": epoch}
            speed = min(len(batches) * train.batch_size, len(pairs)) / seconds
            run.log("epoch", **done, lr=rates[-1], seconds=seconds, images_per_s=speed, **losses)
            line = f"{name}, epoch {epoch}: loss {losses['loss']:.3f}, {speed:.0f} images/s"

            figures: dict[str, float] = {}
            if validation is not None:
                figures = judged(model, tokenizer, validation)
                run.log("validation", **done, split=config.eval.select, **figures)
                line += f", {config.eval.select} R1 {figures['R1']:.1f}, mAP {figures['mAP']:.1f}"
            print(line, flush=True)
            keeper.after_epoch(figures)
        best = keeper.best
    print(f"trained: {run.path / 'best.pth'}")
    return 0


def vocabulary(config: Config, run: RunFolder, texts: list[str]) -> BertTokenizer:
    """The tokenizer of the run, whose vocabulary is kept in its folder with the resolved config."""

    def keep() -> None:
        save_config(config, run.path / "config.yaml")
        build_tokenizer(config.model.vocab, texts, run.path / "vocab.txt")

    distributed.run_on_main(keep)
    return build_tokenizer(config.model.vocab, texts, run.path / "vocab.txt")


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
    """Where photographs come from; every epoch looks at the training pairs and at the validation's gallery."""
    image = config.model.image_size or PRESETS[config.model.preset].image
    gallery = [record.path for record in validation.records] if validation else []
    return kept_images(config.train.cache, [*pairs.paths, *gallery], (image[0], image[1]), Path(config.run.dir))


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


def validation_set(config: Config, records: list[ImageRecord], held: list[ImageRecord]) -> RetrievalSet | None:
    """The queries and gallery that choose the best epoch; None where the last epoch is taken."""
    split = config.eval.select
    if split == "last":
        return None
    chosen = held or [record for record in records if record.split == split]
    if not chosen:
        raise UserError(f"{config.data.root} has no {split} split to choose the best epoch on: set eval.select=last")
    if not config.eval.select_weight:
        return build_retrieval_set(chosen, source=f"{config.data.root} ({split})")
    file = query_file(Path(config.captions.dir), config.data.name, "val" if split == "val" else "test")
    if split == "held_out" or not file.is_file():
        raise UserError(f"eval.select_weight needs eval.select=test or val, and rewrites in {file} (gen_test_data.py)")
    return build_retrieval_set(chosen, read_test_texts(file), source=f"{config.data.root} ({split})")


def identity(config: Config, pairs: UnlabelledPairs, source: UnlabelledPairs | None) -> dict[str, object]:
    """What makes this run this run: settings, and what it learns from."""
    learnt_from = {"the training pairs": pairs} | ({"the source pairs": source} if source else {})
    return (
        run_identity(config)
        | {"processes": distributed.world_size()}
        | {
            # A photograph that was replaced under its name has another size, but for a rare chance.
            what: fingerprint([*of.names, *of.captions, *(str(path.stat().st_size) for path in of.paths)])
            for what, of in learnt_from.items()
        }
    )


if __name__ == "__main__":
    run_script(main)

"""Training rounds: fused features -> pseudo-labels -> epochs with the ITC, ITM and ID losses -> validation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clustering.pseudo_labels import PseudoLabels
from data.images import ImageOpener
from retrieval.options import EvaluationOptions
from retrieval.scoring import validate
from training.batches import TextInputs, pseudo_labelled_batches
from training.checkpoints import NO_METRIC, RoundCheckpoints
from training.epoch import Epoch, Learner, train_epoch
from training.options import PseudoLabelOptions, TrainingOptions
from training.pseudo_labels import fused_features, load_or_compute_labels, log_label_quality
from training.run_folder import RunFolder
from training.schedule import build_optimizer, build_scaler, derived_seed, learning_rates
from training.setup import ModelFactory, TrainingData
from utils import distributed
from utils.device import should_compile
from utils.errors import UserError
from utils.interrupts import GracefulShutdown
from utils.logs import log

PRETRAINING = -1  # number of the round before the first clustering


@dataclass(frozen=True)
class Round:
    """One round.

    Attributes:
        number: index of the round, from 0; `PRETRAINING` for the one before the first clustering.
        labels: the pseudo-labels that it trains on.
        epochs: number of epochs.
        lr: initial learning rate.
    """

    number: int
    labels: PseudoLabels
    epochs: int
    lr: float

    @property
    def name(self) -> str:
        """Name of the round in messages."""
        return "pretraining" if self.number == PRETRAINING else f"round {self.number}"


class RoundTrainer:
    """Trains all rounds of a run, and resumes it where it was interrupted.

    Args:
        run: the run folder.
        data: the training and validation data.
        models: builds the initial model.
        opener: opens images.
        cluster, train, evaluation: the options of the config's sections.
        device: where to compute.
    """

    def __init__(
        self,
        run: RunFolder,
        data: TrainingData,
        models: ModelFactory,
        opener: ImageOpener,
        *,
        cluster: PseudoLabelOptions,
        train: TrainingOptions,
        evaluation: EvaluationOptions,
        device: torch.device,
    ) -> None:
        self.run, self.data, self.models, self.opener = run, data, models, opener
        self.cluster, self.train, self.evaluation, self.device = cluster, train, evaluation, device
        self._compiles = should_compile(train.compile, device)
        self._best = NO_METRIC
        self._eps: float | None = None

    def train_rounds(self, state: Mapping[str, Any] | None) -> None:
        """Train the remaining rounds.

        Args:
            state: the content of `last.pth`, to resume from.

        Raises:
            KeyboardInterrupt: after Ctrl-C, with everything saved; after SIGTERM it returns.
            UserError: a loss is not finite, or nothing can be learned from the pseudo-labels.
        """
        first = PRETRAINING if self.train.pretrain_epochs else 0
        if state:
            first, self._best, self._eps = state["round"], state["memory"]["best"], state["memory"]["eps"]
        for number in range(first, self.train.rounds):
            resumed = state if state and state["round"] == number else None
            if not self._train_round(self._prepare_round(number, resumed is not None), resumed):
                return
        log.info(f"trained: {self.run.path / 'best.pth'}")

    def _prepare_round(self, number: int, resumes: bool) -> Round:
        """Load or compute the pseudo-labels of a round."""
        train = self.train
        if number == PRETRAINING:
            # Before there are features to cluster, images with equal captions count as the same person.
            if train.pretrain_labels == "identity":
                if self.data.person_ids is None:
                    raise UserError("train.pretrain_labels=identity: the identities of the training images are unknown")
                labels = PseudoLabels(np.unique(self.data.person_ids, return_inverse=True)[1].astype(np.int64), eps=0.0)
            else:
                labels = PseudoLabels(self.data.pairs.labels_by_caption(), eps=0.0)
            return Round(number, labels, train.pretrain_epochs, train.pretrain_lr or train.lr)
        frozen = self._eps if self.cluster.freeze_eps else None
        labels = load_or_compute_labels(
            self.run,
            number,
            partial(self._features, number),
            replace(self.cluster, eps=frozen) if frozen else self.cluster,
            names=self.data.pairs.names,
            device=self.device,
        )
        self._eps = labels.eps
        if not resumes:
            log_label_quality(self.run, number, labels, self.data.person_ids)
        return Round(number, labels, train.epochs, train.lr)

    def _features(self, number: int) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Fused features of the training pairs and of the source pairs, by the best model of the previous round."""
        model = self.run.load_round(self.models.build()).to(self.device)
        fuse = partial(
            fused_features,
            model,
            self.models.tokenizer,
            image_weight=self.cluster.image_weight,
            batch_size=self.evaluation.batch_size,
            workers=self.train.workers,
            opener=self.opener,
        )
        features = fuse(self.data.pairs, desc=f"round {number}: features")
        return features, fuse(self.data.source, desc="source features") if self.data.source else None

    def _train_round(self, this: Round, resumed: Mapping[str, Any] | None) -> bool:
        """Train the remaining epochs of a round; return False if it was stopped before its end."""
        train = self.train
        learner = self._learner(this)
        checkpoints = RoundCheckpoints(
            self.run,
            learner,
            round_number=this.number,
            eps=self._eps,
            best=self._best,
            metric=self.evaluation.select_by,
            minutes=train.save_minutes,
            resumed=resumed,
        )
        while checkpoints.epoch < this.epochs:
            if train.patience and checkpoints.epochs_without_improvement >= train.patience:
                break
            if not self._train_epoch(this, learner, checkpoints):
                return False
        self._best = checkpoints.best
        return True

    def _learner(self, this: Round) -> Learner:
        """The model that a round starts from, the initial one or the best of the previous round, with its optimizer."""
        train = self.train
        model = self.models.build()
        model = (model if train.reinit_each_round else self.run.load_round(model)).to(self.device)
        torch.manual_seed(derived_seed(train.seed, 1, this.number + 1))
        model.set_classes(this.labels.clusters)
        if train.freeze_text:
            model.freeze_text()
        optimizer = build_optimizer(model, lr=this.lr, weight_decay=train.weight_decay, beta2=train.beta2)
        scaler = build_scaler(model.precision, self.device)
        if self._compiles:
            model.compile_encoders()
        return Learner(
            model,
            optimizer,
            scaler,
            train.accumulate,
            train.clip_norm,
            train.log_every,
            weights={"image_image": train.image_image, "text_text": train.text_text},
        )

    def _train_epoch(self, this: Round, learner: Learner, checkpoints: RoundCheckpoints) -> bool:
        """Train, validate and save one epoch; return False if it was stopped before its end."""
        train, number, start = self.train, checkpoints.epoch, time.monotonic()
        position = {"round": this.number, "epoch": number}
        seed = derived_seed(train.seed, 2, this.number + 1, number)
        done = checkpoints.mid_epoch.step if checkpoints.mid_epoch else 0
        by_caption = this.number == PRETRAINING and train.pretrain_labels == "caption"
        batches = pseudo_labelled_batches(
            self.data.pairs,
            this.labels.labels,
            # In pretraining, equal captions are one class; random batches contrast more of them.
            replace(train, images_per_identity=None) if by_caption else train,
            image=learner.model.sizes.image,
            opener=self.opener,
            texts=TextInputs(self.models.tokenizer, learner.model.fuse_padding, paraphrase=self.models.paraphrase),
            seed=seed,
            first=done,
        )
        steps = len(batches) + done
        epoch = Epoch(
            batches,
            torch.from_numpy(this.labels.labels),
            learning_rates(this.lr, epoch=number, epochs=this.epochs, steps=steps, warmup_steps=train.warmup_steps),
            # While image and text are not aligned, a random matching head learns nothing from the hardest negatives.
            matching=not by_caption,
            image_names=self.data.pairs.names,
            captions=torch.from_numpy(self.data.pairs.labels_by_caption()) if train.text_text else None,
            image_image=not by_caption,  # different people may have the same caption
            name=f"{this.name}, epoch {number}",
        )
        torch.manual_seed(seed + distributed.rank())
        with GracefulShutdown("stopping after this update and saving") as shutdown:
            losses = train_epoch(
                learner,
                epoch,
                resume=checkpoints.mid_epoch,
                on_log=partial(self.run.log, "step", **position),
                after_update=partial(checkpoints.after_update, shutdown),
            )
        if losses is None:
            shutdown.exit_status()
            return False
        seconds = time.monotonic() - start
        speed = min(len(batches) * train.batch_size, len(self.data.pairs)) / seconds
        self.run.log("epoch", **position, lr=epoch.learning_rates[-1], seconds=seconds, images_per_s=speed, **losses)
        message = f"{epoch.name}: loss {losses['loss']:.3f}, {speed:.0f} images/s"
        metrics: dict[str, float] = {}
        if validation := self.data.validation:
            metrics = validate(
                learner.model,
                self.models.tokenizer,
                validation,
                self.evaluation,
                opener=self.opener,
                workers=train.workers,
            )
            self.run.log("validation", **position, split=self.evaluation.select, **metrics)
            message += f", {self.evaluation.select} R1 {metrics['R1']:.1f}, mAP {metrics['mAP']:.1f}"
        log.info(message)
        checkpoints.after_epoch(metrics)
        return True

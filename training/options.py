"""Options of training (sections `cluster`, `train` and `run` of a config)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from clustering.options import ClusterOptions
from data.records import DataName
from utils.errors import UserError
from utils.options import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ProcessCount,
    Seed,
    options,
)


@options
class PseudoLabelOptions(ClusterOptions):
    """How the pseudo-labels of a round are computed; `configs/base.yaml` explains each key."""

    freeze_eps: bool
    image_weight: Fraction
    degenerate: Literal["stop", "adjust"]
    source_name: DataName | None
    source_root: str | None


@options
class TrainingOptions:
    """How rounds and epochs are trained; `configs/base.yaml` explains each key."""

    rounds: NonNegativeInt
    epochs: PositiveInt
    pretrain_epochs: NonNegativeInt
    pretrain_labels: Literal["caption", "identity"]
    reinit_each_round: bool
    batch_size: Annotated[PositiveInt, Field(ge=2)]
    images_per_identity: Annotated[PositiveInt, Field(ge=2)] | None
    accumulate: PositiveInt
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: Literal["auto"] | bool
    lr: PositiveFloat
    pretrain_lr: PositiveFloat | None
    warmup_steps: NonNegativeInt
    weight_decay: NonNegativeFloat
    beta2: Annotated[float, Field(gt=0, lt=1)]
    negatives: Literal["hardest", "sampled"]
    freeze_text: bool
    image_image: NonNegativeFloat
    text_text: NonNegativeFloat
    paraphrase: Fraction
    augment: Literal["published", "light", "strong"]
    clip_norm: PositiveFloat | None
    workers: ProcessCount | None
    cache: Literal["memory", "mapped"] | bool
    log_every: PositiveInt
    patience: PositiveInt | None
    save_minutes: PositiveFloat
    seed: Seed

    def __post_init__(self) -> None:
        if not self.rounds and not self.pretrain_epochs:
            raise UserError("train.rounds=0 and train.pretrain_epochs=0: nothing would be trained; set one of them")
        if self.freeze_text and self.text_text:
            raise UserError(
                f"train.text_text={self.text_text:g} trains the text encoder, which train.freeze_text keeps as it is: "
                "set train.text_text=0 or train.freeze_text=false"
            )


@options
class RunOptions:
    """Run folder, device and processes; `configs/base.yaml` explains each key."""

    dir: str
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    processes: Annotated[ProcessCount, Field(ge=1)] | None
    tensorboard: bool

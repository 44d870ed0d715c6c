"""What each key may hold. Defaults stand in base.yaml alone, so that a key missing there is an error here."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Price = Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=2, max_length=2)]
DataName = Literal["cuhk_pedes", "icfg_pedes", "rstpreid", "custom", "demo"]


class Section(BaseModel):
    """Unknown keys and values of another type are errors; nothing is converted but whole numbers to floats."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())


class Data(Section):
    name: DataName
    root: str


class Captions(Section):
    dir: str


class Captioner(Section):
    backend: Literal["palette", "openai", "local"]
    rewriter: Literal["rules", "openai", "local"]
    base_url: str | list[str] | None
    model: str | None
    api_key_env: str
    rewriter_base_url: str | list[str] | None
    rewriter_model: str | None
    rewriter_api_key_env: str | None
    format: Literal["auto", "json", "text"]
    concurrency: Count
    requests_per_minute: Positive | None
    timeout: Positive
    retries: Whole
    stop_after: Count
    max_tokens: Count
    max_pixels: Count
    batch_size: Count
    price: Price | None
    rewriter_price: Price | None


class Model(Section):
    preset: Literal["tiny", "base", "large"]
    init: str | None
    vocab: str | None
    image_size: Annotated[list[Count], Field(min_length=2, max_length=2)] | None
    dropout: Annotated[float, Field(ge=0, lt=1)]
    fuse_padding: bool
    checkpointed_blocks: Whole
    offload: bool


class Cluster(Section):
    k1: Count
    k2: Count
    eps: Positive | Literal["auto", "clearest"]
    freeze_eps: bool
    min_samples: Count
    metric: Literal["precomputed", "rows"]
    knn: Literal["exact", "ivf"]
    degenerate: Literal["stop", "adjust"]
    source_name: DataName | None
    source_root: str | None
    source_weight: Annotated[float, Field(ge=0, lt=1)]


class Train(Section):
    rounds: Count
    epochs: Count
    warmup_epochs: Whole
    restart: bool
    batch_size: Annotated[int, Field(ge=2)]
    images_per_identity: Annotated[int, Field(ge=2)] | None
    accumulate: Count
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    compile: bool
    lr: Positive
    warmup_lr: Positive | None
    ramp_steps: Whole
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    beta2: Annotated[float, Field(gt=0, lt=1)]
    negatives: Literal["hardest", "sampled"]
    paraphrase: Share
    augment: Literal["published", "light"]
    clip_norm: Positive | None
    workers: Whole
    cache: Literal["memory", "mapped"] | bool
    log_every: Count
    patience: Count | None
    save_minutes: Positive
    seed: Whole


class Eval(Section):
    select: Literal["val", "test", "last", "held_out"]
    held_out: Annotated[float, Field(gt=0, lt=1)]
    select_by: Literal["R1", "mAP"]
    select_k: Whole
    select_weight: Share
    msm_weight: Share | Literal["val"]
    k_test: Whole | Literal["val"]
    tokens: Literal["half", "full"]
    batch_size: Count
    examples: Whole

    @property
    def by_validation(self) -> list[str]:
        """What is chosen on the validation split: the weight of rewrites, the number of matched images."""
        return [name for name in ("msm_weight", "k_test") if getattr(self, name) == "val"]

    @property
    def rewritten(self) -> list[Literal["val", "test"]]:
        """The splits whose queries are rewritten."""
        needed = bool(self.by_validation) or (self.select == "val" and self.select_weight > 0)
        return ["test", "val"] if needed else ["test"]


class Run(Section):
    dir: str
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
    processes: Count | None
    tensorboard: bool


class Config(Section):
    """A resolved config: every key of base.yaml, checked."""

    data: Data
    captions: Captions
    captioner: Captioner
    model: Model
    cluster: Cluster
    train: Train
    eval: Eval
    run: Run


TEXT_KEYS = frozenset(
    f"{section}.{key}"
    for section, of in Config.model_fields.items()
    for key, field in getattr(of.annotation, "model_fields", {}).items()
    if str in (field.annotation, *get_args(field.annotation))
)
"""Keys that hold any text, such as paths."""

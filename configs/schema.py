"""The schema of a config: each section is the option group of the stage that it configures.

Defaults are in base.yaml alone, so a key that is missing there is an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pydantic import Field

from clustering.options import ClusterOptions
from data.records import DataName
from models.options import ModelOptions
from retrieval.options import EvaluationOptions
from training.options import RunOptions, TrainingOptions
from utils.options import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, options

Price = Annotated[list[NonNegativeFloat], Field(min_length=2, max_length=2)]


@options
class DataOptions:
    """Which data set, and where it is."""

    name: DataName
    root: str


@options
class CaptionsOptions:
    """Where the caption files are."""

    dir: str


@options
class CaptionerOptions:
    """Which models describe images and rewrite queries; `configs/base.yaml` explains each key."""

    backend: Literal["palette", "openai", "local"]
    rewriter: Literal["rules", "openai", "local"]
    base_url: str | list[str] | None
    model: str | None
    api_key_env: str
    rewriter_base_url: str | list[str] | None
    rewriter_model: str | None
    rewriter_api_key_env: str | None
    format: Literal["auto", "json", "text"]
    concurrency: PositiveInt
    requests_per_minute: PositiveFloat | None
    timeout: PositiveFloat
    retries: NonNegativeInt
    stop_after: PositiveInt
    max_tokens: PositiveInt
    max_pixels: PositiveInt
    batch_size: PositiveInt
    price: Price | None
    rewriter_price: Price | None


@dataclass(frozen=True)
class Config:
    """A resolved config: every key of base.yaml, checked."""

    data: DataOptions
    captions: CaptionsOptions
    captioner: CaptionerOptions
    model: ModelOptions
    cluster: ClusterOptions
    train: TrainingOptions
    eval: EvaluationOptions
    run: RunOptions

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, as YAML writes them."""
        return asdict(self)


SECTIONS: dict[str, type] = get_type_hints(Config)

# Keys whose value may be any text, such as paths.
TEXT_KEYS = frozenset(
    f"{section}.{key}"
    for section, group in SECTIONS.items()
    for key, kind in get_type_hints(group).items()
    if str in (kind, *get_args(kind))
)

"""The schema of a config: each section is the option group of the stage that it configures.

The classes have no default values: all defaults are in base.yaml, and a key that is missing there is an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args, get_origin, get_type_hints

from captioning.options import CaptionerOptions
from data.captions import CaptionsOptions
from data.records import DataOptions
from models.options import ModelOptions
from retrieval.options import EvaluationOptions
from training.options import PseudoLabelOptions, RunOptions, TrainingOptions


@dataclass(frozen=True)
class Config:
    """A resolved config: every key of base.yaml, checked."""

    data: DataOptions
    captions: CaptionsOptions
    captioner: CaptionerOptions
    model: ModelOptions
    cluster: PseudoLabelOptions
    train: TrainingOptions
    eval: EvaluationOptions
    run: RunOptions

    def to_dict(self) -> dict[str, Any]:
        """Nested builtin values, ready to be written as YAML."""
        return asdict(self)


SECTIONS: dict[str, type] = get_type_hints(Config)

# Keys whose value may be any text, such as paths.
TEXT_KEYS = frozenset(
    f"{section}.{key}"
    for section, group in SECTIONS.items()
    for key, kind in get_type_hints(group).items()
    if get_origin(kind) is not list and str in (kind, *get_args(kind))
)

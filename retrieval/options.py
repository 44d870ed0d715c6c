"""Options of validation and test (section `eval` of a config)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from utils.options import Fraction, NonNegativeInt, PositiveInt, options


@options
class EvaluationOptions:
    """How epochs are chosen and tests are scored; `configs/base.yaml` explains each key."""

    select: Literal["val", "test", "last", "held_out"]
    held_out: Annotated[float, Field(gt=0, lt=1)]
    select_by: Literal["R1", "mAP"]
    select_k: NonNegativeInt
    select_weight: Fraction
    msm_weight: Fraction | Literal["val"]
    rewrite_image: Fraction
    k_test: NonNegativeInt | Literal["val"]
    token_precision: Literal["half", "full"]
    batch_size: PositiveInt
    examples: NonNegativeInt

    @property
    def tuned_on_val(self) -> list[str]:
        """Keys whose value is chosen on the validation split."""
        return [name for name in ("msm_weight", "k_test") if getattr(self, name) == "val"]

    @property
    def rewritten_splits(self) -> list[Literal["val", "test"]]:
        """The splits whose queries need rewrites."""
        needed = bool(self.tuned_on_val) or (self.select == "val" and self.select_weight > 0)
        return ["test", "val"] if needed else ["test"]

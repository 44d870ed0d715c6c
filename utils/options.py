"""Option groups: frozen dataclasses that are typed once, where they are used, and checked when a config is loaded."""

from __future__ import annotations

from typing import Annotated, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, Field

Group = TypeVar("Group")

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def options(group: type[Group]) -> type[Group]:
    """Make a class a frozen dataclass that refuses unknown fields and wrong types; only ints become floats."""
    strict = ConfigDict(extra="forbid", strict=True)
    return pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=strict)(group)  # type: ignore[return-value]

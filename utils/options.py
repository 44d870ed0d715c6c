"""Option groups: frozen dataclasses, defined in the package that uses them and validated when a config is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, Field

from utils.errors import UserError

Group = TypeVar("Group")

MOST = 2**31 - 1  # beyond which libraries cannot count, and no number of epochs or images is
PositiveInt = Annotated[int, Field(ge=1, le=MOST)]
NonNegativeInt = Annotated[int, Field(ge=0, le=MOST)]
ProcessCount = Annotated[int, Field(ge=0, le=1024)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def options(group: type[Group]) -> type[Group]:
    """Make a class a frozen dataclass that rejects unknown fields and wrong types; only int to float is converted."""
    strict = ConfigDict(extra="forbid", strict=True)
    return pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=strict)(group)  # type: ignore[return-value]


def build(group: type[Group], values: Mapping[str, Any], *, prefix: str = "") -> Group:
    """Return the option group with these values.

    Args:
        prefix: prepended to names in messages, such as "train.".

    Raises:
        UserError: an option is invalid; the message is one line about the first such option.
    """
    try:
        return group(**values)
    except pydantic.ValidationError as error:
        name = error.errors()[0]["loc"][0]
        expected = dict.fromkeys(_expected(item["msg"]) for item in error.errors() if item["loc"][0] == name)
        allowed = " or ".join(expected)
        verb = "should" if allowed.startswith("have") else "should be"  # "have at least 2 items"
        raise UserError(f"{prefix}{name}={values.get(str(name))!r} is not possible: it {verb} {allowed}") from None


def _expected(message: str) -> str:
    """Turn pydantic's "Input should be a valid integer" into "an integer"."""
    message = message.removeprefix("List should ").replace(" after validation", "")
    message = message.removeprefix("String should ").replace(
        "match pattern '^(auto|cpu|cuda(:\\d+)?)$'", "auto, cpu, cuda or cuda:N"
    )
    message = message.removeprefix("Input should be ").replace("a valid i", "an i").replace("a valid ", "a ")
    return message[0].lower() + message[1:]

"""Axes of a chart: round tick values, places in the picture, labels that do not cover each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_SLACK = 1e-9  # a quotient this close to a whole number is one: 0.3 / 0.1 is 2.9999999999999996


def nice_step(span: float, count: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `span` (> 0) into at most `count` pieces."""
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    return next(times * power for times in (1, 2, 5, 10) if rough <= times * power * (1 + _SLACK))


@dataclass(frozen=True)
class Axis:
    """A straight scale from values to places.

    Attributes:
        low: the value at `start`.
        high: the value at `end`, greater than `low`.
        start: a place in the picture, in its units; may lie after `end`, as on a vertical axis.
        end: the other end.
        step: the distance of two ticks, as a value.
    """

    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def outward(cls, values: Sequence[float], *, start: float, end: float, count: int = 5) -> Axis:
        """An axis widened to the ticks around `values` (at least one, all finite), so that both its ends are ticks."""
        low, high = _range(values)
        step = nice_step(high - low, count)
        first, last = math.floor(low / step + _SLACK), math.ceil(high / step - _SLACK)
        return cls(first * step, last * step, start, end, step)

    @classmethod
    def exact(cls, values: Sequence[float], *, start: float, end: float, count: int = 6) -> Axis:
        """An axis that ends where `values` (at least one, all finite) end; whole values get whole ticks."""
        low, high = _range(values)
        step = nice_step(high - low, count)
        if all(float(value).is_integer() for value in values):
            step = max(step, 1.0)
        return cls(low, high, start, end, step)

    @property
    def ticks(self) -> list[float]:
        """The multiples of `step` between `low` and `high`."""
        first, last = math.ceil(self.low / self.step - _SLACK), math.floor(self.high / self.step + _SLACK)
        return [round(number * self.step, _decimals(self.step)) for number in range(first, last + 1)]

    def place(self, value: float) -> float:
        """Where `value` lies in the picture."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def label(self, tick: float) -> str:
        """A tick's value, with as many digits as tell two neighbours apart."""
        if 1e-4 <= self.step < 1e6:
            return f"{tick:,.{max(0, _decimals(self.step))}f}".replace("-", "−")
        return f"{tick:.3g}".replace("-", "−")


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Move places as little as needed until they are `gap` apart and within [low, high]; the order stays.

    Where they cannot all fit, they share the room evenly.
    """
    if len(wanted) > 1:
        gap = min(gap, (high - low) / (len(wanted) - 1))
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = list(wanted)
    floor = low
    for index in order:
        places[index] = floor = max(places[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        places[index] = ceiling = min(places[index], ceiling)
        ceiling -= gap
    return places


def _decimals(step: float) -> int:
    """Digits after the point of a multiple of `step`; negative for tens, hundreds and so on."""
    return -math.floor(math.log10(step) + _SLACK)


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest value, set apart where they are the same or differ by rounding alone."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low > 1e-9 * size:
        return low, high
    if size == 0:
        return 0.0, 1.0
    half = max(0.1 * size, 0.5 if float(low).is_integer() else 0.0)
    return low - half, high + half

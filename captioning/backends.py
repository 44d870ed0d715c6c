"""Who can describe and who can rewrite, by the names that configs use."""

from __future__ import annotations

from collections.abc import Callable

from captioning.captioner import ImageCaptioner, QueryRewriter
from captioning.palette import PaletteCaptioner
from captioning.rules import RulesRewriter

CAPTIONERS: dict[str, Callable[[int], ImageCaptioner]] = {
    "palette": lambda concurrency: PaletteCaptioner(workers=concurrency),
}
REWRITERS: dict[str, Callable[[int], QueryRewriter]] = {
    "rules": lambda concurrency: RulesRewriter(),
}

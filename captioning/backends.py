"""Backends that describe images and rewrite queries, by the names that configs use."""

from __future__ import annotations

import os
from collections.abc import Callable

from captioning.captioner import ImageCaptioner, QueryRewriter
from captioning.options import LanguageModelOptions

# Each backend is imported when it is chosen: the OpenAI client and scipy take about a second to load.


def _palette(model: LanguageModelOptions) -> ImageCaptioner:
    from captioning.palette import PaletteCaptioner

    return PaletteCaptioner(workers=min(model.concurrency, os.cpu_count() or 1))


def _openai(model: LanguageModelOptions) -> ImageCaptioner:
    from captioning.openai import OpenAICaptioner

    return OpenAICaptioner(model)


def _local(model: LanguageModelOptions) -> ImageCaptioner:
    from captioning.local import LocalCaptioner

    return LocalCaptioner(model)


def _rules(model: LanguageModelOptions) -> QueryRewriter:
    from captioning.rules import RulesRewriter

    return RulesRewriter()


def _openai_rewriter(model: LanguageModelOptions) -> QueryRewriter:
    from captioning.openai import OpenAIRewriter

    return OpenAIRewriter(model)


def _local_rewriter(model: LanguageModelOptions) -> QueryRewriter:
    from captioning.local import LocalRewriter

    return LocalRewriter(model)


CAPTIONERS: dict[str, Callable[[LanguageModelOptions], ImageCaptioner]] = {
    "palette": _palette,
    "openai": _openai,
    "local": _local,
}
REWRITERS: dict[str, Callable[[LanguageModelOptions], QueryRewriter]] = {
    "rules": _rules,
    "openai": _openai_rewriter,
    "local": _local_rewriter,
}

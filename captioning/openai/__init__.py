"""Captions and rewrites from a model behind any OpenAI-compatible endpoint (vLLM, SGLang, DashScope, OpenAI)."""

from captioning.openai.captioner import OpenAICaptioner, OpenAIRewriter

__all__ = ["OpenAICaptioner", "OpenAIRewriter"]

"""Captions and rewrites from a transformers model on this machine; torch and transformers load with the model."""

from captioning.local.captioner import LocalCaptioner, LocalRewriter

__all__ = ["LocalCaptioner", "LocalRewriter"]

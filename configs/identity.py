"""Which settings make two runs the same run."""

from __future__ import annotations

from typing import Any

from configs.schema import Config

# These change how fast a run goes or what it shows, never its weights.
_FREE = {
    "model.checkpointed_blocks",
    "model.offload",
    "cluster.source_root",
    "train.workers",
    "train.cache",
    "train.log_every",
    "train.save_minutes",
}


def run_identity(config: Config) -> dict[str, Any]:
    """Every setting that the trained weights depend on: {"section.key": value}."""
    sections = config.model_dump(include={"model": True, "cluster": True, "train": True})
    sections["eval"] = config.eval.model_dump(include={"select", "select_by", "select_k", "select_weight", "held_out"})
    settings = {f"{section}.{key}": value for section, keys in sections.items() for key, value in keys.items()}
    return {name: value for name, value in settings.items() if name not in _FREE}

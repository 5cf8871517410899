"""Prompt sets in, their text features out, from the cache where it has them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.checkpoint import read_learned
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_prompts, tokenizer_name
from magiqa.backbones.weights import Weights
from magiqa.errors import UserError
from magiqa.features.cache import FEATURE_VERSION, key_hash, width_of
from magiqa.features.shard import cache_writes, read_text_shard, verify_shard, write_shard
from magiqa.method.prompts import PromptSet
from magiqa.package import expanded

if TYPE_CHECKING:
    import torch


def text_key(backbone: Backbone, weights: Weights, prompts: PromptSet) -> dict[str, Any]:
    """Return all that shapes a prompt set's text features; levels, pooling and scale do not."""
    key: dict[str, Any] = {
        "version": FEATURE_VERSION,
        "weights_sha256": weights.sha256,
        "architecture": weights.config,
        "tokenizer": tokenizer_name(backbone),
    }
    if prompts.groups:
        key["texts"] = list(prompts.texts)
    else:
        key["pairs"] = [list(pair) for pair in prompts.pairs]
    if learned := read_learned(prompts):
        key["learned"] = {
            "sha256": learned.sha256,
            "position": prompts.position,
            "ending": prompts.ending,
            "kind": "context" if prompts.context else "features",
        }
    return key


def text_path(root: str | Path, key: dict[str, Any]) -> Path:
    """Return the file of a prompt set's embeddings."""
    return expanded(root) / "text" / f"{key_hash(key)}.safetensors"


def read_text(root: str | Path, key: dict[str, Any]) -> tuple[np.ndarray, float] | None:
    """Return cached embeddings (T, D) and the logit scale; None where they are absent or damaged."""
    path = text_path(root, key)
    count = 2 * len(key["pairs"]) if "pairs" in key else len(key["texts"])
    try:
        verify_shard(path)
        return read_text_shard(path, count, width_of(key))
    except UserError:
        return None


def write_text(root: str | Path, key: dict[str, Any], text: np.ndarray, logit_scale: float) -> None:
    """Cache embeddings (T, D) and the logit scale; those of pairs are stored as (P, 2, D).

    Raises:
        UserError: the folder cannot be written.
    """
    path = text_path(root, key)
    with cache_writes(path):
        write_shard(
            path,
            {
                "text": text.astype(np.float32).reshape(-1, 2 if "pairs" in key else 1, text.shape[-1]),
                "logit_scale": np.array([logit_scale]),
            },
            {"key": json.dumps(key, sort_keys=True)},
        )


def learned_source(weights: Weights, prompts: PromptSet) -> dict[str, str]:
    """Return a record's words on the weights with the sha256 of learned contexts or text features."""
    learned = read_learned(prompts)
    what = "contexts" if prompts.context else "text features"
    return {"source": f"{weights.described}; {what} of sha256 {learned.sha256}"} if learned else {}


def text_embeddings(
    cache_dir: str,
    backbone: Backbone,
    weights: Weights,
    model: "Callable[[], torch.nn.Module]",
    prompts: PromptSet,
    warn: Callable[[str], object] | None = None,
) -> tuple[np.ndarray, float]:
    """Return the text features (T, D) of a prompt set and the logit scale; the model is made only to encode them.

    Args:
        warn: told why they cannot be stored, where the cache can only be read; None: that is an error.
    """
    key = text_key(backbone, weights, prompts)
    cached = read_text(cache_dir, key)
    if cached is None:
        cached = encode_prompts(model(), backbone, prompts)
        try:
            write_text(cache_dir, key, *cached)
        except UserError as error:
            if warn is None:
                raise
            warn(f"the prompts' embeddings are not stored: {error}")
    return cached

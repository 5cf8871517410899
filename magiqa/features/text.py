"""Prompt sets in, their text features out, from the cache where it has them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.learned import read_learned
from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_prompts, tokenizer_name
from magiqa.backbones.weights import Weights
from magiqa.errors import UserError
from magiqa.features.cache import read_text, write_text
from magiqa.features.key import FEATURE_VERSION
from magiqa.method.prompts import PromptSet

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

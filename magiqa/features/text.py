"""Prompt sets in, their embeddings out, from the cache where it has them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from magiqa.backbones.spec import Backbone
from magiqa.backbones.text import encode_text, tokenizer_name
from magiqa.backbones.weights import Weights
from magiqa.errors import UserError
from magiqa.features.cache import read_text, write_text
from magiqa.features.key import FEATURE_VERSION
from magiqa.method.prompts import PromptSet

if TYPE_CHECKING:
    import torch


def text_embeddings(
    cache_dir: str,
    backbone: Backbone,
    weights: Weights,
    model: "Callable[[], torch.nn.Module]",
    prompts: PromptSet,
    warn: Callable[[str], object] | None = None,
) -> tuple[np.ndarray, float]:
    """Embeddings (P, 2, D) of a prompt set and the logit scale, cached; the model is made only to encode them.

    Args:
        warn: told why they cannot be stored, where the cache can only be read; None: that is an error.
    """
    key = {
        "version": FEATURE_VERSION,
        "weights_sha256": weights.sha256,
        "architecture": weights.config,
        "pairs": [list(p) for p in prompts.pairs],
        "tokenizer": tokenizer_name(backbone),
    }
    cached = read_text(cache_dir, key)
    if cached is not None:
        text, scale = cached
        return text.reshape(len(prompts.pairs), 2, -1), scale
    text, scale = encode_text(model(), backbone, prompts.pairs)
    try:
        write_text(cache_dir, key, text, scale)
    except UserError as error:
        if warn is None:
            raise
        warn(f"the prompts' embeddings are not stored: {error}")
    return text, scale

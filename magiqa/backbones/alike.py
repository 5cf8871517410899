"""Whether two backbones are one and the same for the views at hand, however they are spelled."""

from dataclasses import replace

import numpy as np

from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import Weights, load_weights

EMBEDDINGS = ("visual.attnpool.positional_embedding", "visual.positional_embedding")


def alike(a: Backbone, b: Backbone, window: int) -> str:
    """Why two backbones give the same feature of any view of ``window`` pixels; nothing where they are not known to.

    Weights are read only where the two differ in nothing but their positional embedding.

    Raises:
        UserError: the weights cannot be had.
    """
    if a == b:
        return "the same backbone"
    if replace(a, positional_embedding=b.positional_embedding) != b:
        return ""
    weights = load_weights(a)
    modes = {a.positional_embedding, b.positional_embedding}
    trained = weights.config.get("vision_cfg", {}).get("image_size")
    if trained == window and "drop" not in modes:
        return f"the weights were trained on views of {window} pixels, so nothing is interpolated"
    if _zero(weights) and (trained == window or "native" not in modes):
        return "the positional embedding of these weights is 0"
    return ""


def _zero(weights: Weights) -> bool:
    """Whether the image tower's positional embedding adds nothing."""
    found = [weights.tensors[name] for name in EMBEDDINGS if name in weights.tensors]
    return bool(found) and not any(np.asarray(tensor).any() for tensor in found)

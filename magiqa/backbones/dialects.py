"""Dialects of CLIP checkpoints: prefixes, transformers' names, and those that hold no whole CLIP."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from magiqa.errors import UserError

# in OpenAI's archives, beside the weights
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")

_PREFIX = re.compile(
    r"((?:module|model|clip_model|clip|_orig_mod)\.)+(?=visual\.|vision_model\.|text_model\.)"
)

# transformers' CLIPModel -> open_clip; both towers' layers come first
_TRANSFORMERS = [
    (r"text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"text_model\.embeddings\.token_embedding\.weight", "token_embedding.weight"),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.final_layer_norm\.", "ln_final."),
    (r"text_projection\.weight", "text_projection"),
    (r"vision_model\.embeddings\.class_embedding", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "visual.conv1.weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"visual_projection\.weight", "visual.proj"),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
]

# what holds no whole CLIP, by a tensor's name
_PARTS = {
    r"^(blocks\.\d+\.attn\.qkv|stem\.conv1\.conv)\.": "a timm image tower",
    r"^vision_model\.": "transformers' image tower alone",
    r"^text_model\.": "transformers' text tower alone",
}

Converted = tuple[dict[str, Any], tuple[bool, str] | None, list[str]]


def to_open_clip(tensors: Mapping[str, Any], file: Path, where: str) -> Converted:
    """Give tensors open_clip's names.

    Args:
        file: a ``config.json`` beside it tells the activation of transformers' weights. where: for messages.

    Returns:
        The tensors, the activation with its reason where it is known, and notes of what was done.

    Raises:
        UserError: the file holds a part of a CLIP only; names the dialect and the way to convert it.
    """
    state, notes = dict(tensors), []
    prefix = next((m[0] for name in state if (m := _PREFIX.match(name))), "") or _wrapper(state)
    if prefix:
        left_out = sorted(name for name in state if not name.startswith(prefix))
        state = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        notes.append(
            f"prefix {prefix} removed" + (f", left out {', '.join(left_out[:3])}" if left_out else "")
        )
    towers = [any(name.startswith(f"{tower}_model.") for name in state) for tower in ("vision", "text")]
    if all(towers):
        activation = _hidden_act(file)
        return _from_transformers(state), activation, [*notes, "converted from transformers' CLIPModel"]
    for pattern, part in _PARTS.items():
        if any(re.match(pattern, name) for name in state):
            raise UserError(
                f"{where}: holds {part}, and a CLIP needs an image and a text tower; save the whole model, with "
                "open_clip's names or as transformers' CLIPModel, and give that file"
            )
    return state, None, notes


def _wrapper(state: Mapping[str, Any]) -> str:
    """Return a prefix that every name has, of a tower that is not CLIP's own."""
    return next((p for p in ("module.", "_orig_mod.") if all(name.startswith(p) for name in state)), "")


def _from_transformers(state: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    for name, tensor in state.items():
        if name.endswith(".position_ids"):
            continue
        new = name
        for pattern, replacement in _TRANSFORMERS:
            new = re.sub(pattern, replacement, new)
        if match := re.fullmatch(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)", new):
            parts.setdefault(f"{match[1]}.attn.in_proj_{match[3]}", {})[match[2]] = tensor
        else:
            out[new] = tensor.T if new in ("text_projection", "visual.proj") else tensor
    for name, by_letter in parts.items():
        ordered = [by_letter[letter] for letter in "qkv" if letter in by_letter]
        if isinstance(ordered[0], np.ndarray):
            out[name] = np.concatenate(ordered)
        else:
            import torch

            out[name] = torch.cat(ordered)
    return out


def _hidden_act(file: Path) -> tuple[bool, str] | None:
    """Read the activation of transformers' weights from the config beside them."""
    try:
        config = json.loads((file.parent / "config.json").read_text())
        name = config.get("vision_config", {}).get("hidden_act") or config["text_config"]["hidden_act"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    activations = {"quick_gelu": True, "gelu": False}
    return (
        (activations[name], f"hidden_act in {file.parent / 'config.json'} says so")
        if name in activations
        else None
    )

"""Prompt pairs in, text embeddings out."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.library import quiet, tokenizer_of
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import architecture
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch


def tokenizer_name(spec: Backbone) -> str:
    """Return the identity of a backbone's tokenizer: open_clip's version, and a hub's name or a folder's bytes.

    Example:
        >>> tokenizer_name(Backbone("hf-hub:org/model")).endswith(", hf-hub:org/model")
        True
    """
    schema, _, where = spec.located.partition(":")
    name = f"open_clip {version('open_clip_torch')}"
    if schema == "hf-hub":
        return f"{name}, {spec.located}"
    if schema != "local-dir":
        return name
    digest = hashlib.sha256()
    for file in sorted(f for f in Path(where).iterdir() if f.suffix in (".json", ".txt", ".model")):
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"{name}, files {digest.hexdigest()}"


def encode_text(
    model: "torch.nn.Module", spec: Backbone, pairs: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, float]:
    """Embeddings of prompt pairs, encoded in float32 once for a backbone and prompt set.

    By one thread, so that they are the same bits on a laptop and a node: torch splits sums by its number of threads.

    Returns:
        float32 (P, 2, D) of unit length, and the logit scale (exponentiated).

    Raises:
        UserError: the tokenizer cannot be had, or a text is longer than the text tower's context.
    """
    import torch

    clip: Any = model
    texts = [text for pair in pairs for text in pair]
    config, _ = architecture(spec)
    with quiet(), torch.inference_mode():
        try:
            tokenizer = tokenizer_of(spec, config)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"backbone.name={spec.name}: its tokenizer cannot be had ({reason}); install what it asks for, or "
                "fill the hub cache where there is a network"
            ) from None
        tokens = tokenizer(texts)
        if hasattr(tokenizer, "encode"):  # open_clip's own would cut a long text without a word
            room = tokens.shape[1] - 2
            for words in texts:
                if len(tokenizer.encode(words)) > room:
                    raise UserError(
                        f"prompts.pairs: the text {words[:40]!r}... is longer than the {room} tokens that "
                        f"{spec.name} reads; shorten it"
                    )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            text = torch.nn.functional.normalize(clip.encode_text(tokens).float(), dim=-1)
        finally:
            torch.set_num_threads(threads)
        return text.reshape(len(pairs), 2, -1).numpy(), float(clip.logit_scale.exp())

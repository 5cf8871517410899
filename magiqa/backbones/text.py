"""Prompts in, text features out."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.checkpoint import Learned, read_learned
from magiqa.backbones.library import quiet, tokenizer_of
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import architecture
from magiqa.errors import UserError
from magiqa.method.prompts import PromptSet

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


def encode_prompts(model: "torch.nn.Module", spec: Backbone, prompts: PromptSet) -> tuple[np.ndarray, float]:
    """Return the text features (T, D) of a prompt set, and the logit scale.

    Raises:
        UserError: see `encode_text`; a file of contexts or features that does not fit.
    """
    clip: Any = model
    learned = read_learned(prompts)
    if learned is None:
        return encode_text(model, spec, prompts.texts)
    if prompts.features:
        width = _width(clip)
        if learned.values.shape != (len(prompts.texts), width):
            raise UserError(
                f"prompts.features={prompts.features}: holds features of the shape {learned.values.shape}, not "
                f"{(len(prompts.texts), width)}: one for each text of the prompt set, of the width of {spec.name}"
            )
        return learned.values, float(clip.logit_scale.exp())
    return _encode_contexts(model, spec, prompts, learned)


def _tokenizer(spec: Backbone) -> Any:
    try:
        config, _ = architecture(spec)
        return tokenizer_of(spec, config)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"backbone.name={spec.name}: its tokenizer cannot be had ({reason}); install what it asks for, or "
            "fill the hub cache where there is a network"
        ) from None


def _features(clip: Any, tokens: "torch.Tensor") -> np.ndarray:
    """Encode tokens by one thread, so that the bits do not depend on the machine: torch splits sums by its threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with quiet(), torch.inference_mode():
            text: torch.Tensor = torch.nn.functional.normalize(clip.encode_text(tokens).float(), dim=-1)
    finally:
        torch.set_num_threads(threads)
    return text.numpy()


def _width(clip: Any) -> int:
    projection = clip.text_projection if hasattr(clip, "text_projection") else clip.text.text_projection
    return int(getattr(projection, "out_features", None) or projection.shape[1])


def encode_text(model: "torch.nn.Module", spec: Backbone, texts: Sequence[str]) -> tuple[np.ndarray, float]:
    """Return the features (T, D) of texts, of unit length, and the logit scale (exponentiated).

    Raises:
        UserError: the tokenizer cannot be had, or a text is longer than the text tower's context.
    """
    clip: Any = model
    with quiet():
        tokenizer = _tokenizer(spec)
        tokens = tokenizer(list(texts))
    if hasattr(tokenizer, "encode"):  # open_clip's own would cut a long text without a word
        for words in texts:
            _check_length(spec, words, len(tokenizer.encode(words)), tokens.shape[1])
    return _features(clip, tokens), float(clip.logit_scale.exp())


def _check_length(spec: Backbone, words: str, tokens: int, context: int) -> None:
    if tokens > context - 2:
        raise UserError(
            f"prompts: the text {words[:40]!r}... is longer than the {context - 2} tokens that {spec.name} reads; "
            "shorten it"
        )


def _encode_contexts(
    model: "torch.nn.Module", spec: Backbone, prompts: PromptSet, learned: Learned
) -> tuple[np.ndarray, float]:
    """Encode learned context vectors around the class texts (CoOp: Zhou et al., arXiv:2109.01134)."""
    import torch

    clip: Any = model
    tower = clip.text if hasattr(clip, "text") else clip
    where = f"prompts.context={prompts.context}"
    with quiet():
        tokenizer = _tokenizer(spec)
    if not hasattr(tokenizer, "encode") or not hasattr(tower, "token_embedding"):
        raise UserError(f"{where}: {spec.name} has no text tower of CLIP's own kind; use a CLIP backbone")
    vectors = torch.from_numpy(learned.values)
    width = tower.token_embedding.weight.shape[1]
    if vectors.shape[-1] != width or (vectors.ndim == 3 and len(vectors) != len(prompts.texts)):
        raise UserError(
            f"{where}: holds contexts of the shape {tuple(vectors.shape)}; {spec.name} reads vectors of {width}, one "
            f"context for all texts or one for each of the {len(prompts.texts)}; choose the backbone and prompt set "
            "that it was trained with"
        )
    if vectors.ndim == 2:
        vectors = vectors.expand(len(prompts.texts), *vectors.shape)
    count = vectors.shape[1]
    before = {"end": count, "middle": count // 2, "front": 0}[prompts.position]
    ending = tokenizer.encode(prompts.ending)
    rows = torch.zeros(len(prompts.texts), clip.context_length, dtype=torch.long)
    places = torch.zeros(len(prompts.texts), count, dtype=torch.long)
    for i, words in enumerate(prompts.texts):
        name = tokenizer.encode(words.replace("_", " "))
        _check_length(spec, words, count + len(name) + len(ending), clip.context_length)
        sequence = [1] * before + name + [1] * (count - before) + ending
        tokens = [tokenizer.sot_token_id, *sequence, tokenizer.eot_token_id]
        rows[i, : len(tokens)] = torch.tensor(tokens)
        taken = [*range(before), *range(before + len(name), count + len(name))]
        places[i] = torch.tensor(taken) + 1  # after the start token
    start = tower.token_embedding.weight[tokenizer.sot_token_id]
    if learned.prefix is not None and not np.allclose(learned.prefix, start.numpy(), atol=1e-3):
        raise UserError(
            f"{where}: its token_prefix is not the start token of {spec.name}: it was trained with another CLIP; "
            "choose that backbone"
        )

    def insert(module: Any, args: Any, embedded: torch.Tensor) -> torch.Tensor:
        return embedded.scatter(1, places[..., None].expand(-1, -1, width), vectors.to(embedded.dtype))

    hook = tower.token_embedding.register_forward_hook(insert)
    try:
        return _features(clip, rows), float(clip.logit_scale.exp())
    finally:
        hook.remove()

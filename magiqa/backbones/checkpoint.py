"""A file of weights in, its tensors under open_clip's names and their fingerprint out."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.torchscript import is_archive, read_archive
from magiqa.errors import UserError
from magiqa.method.prompts import PromptSet
from magiqa.package import expanded

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor | np.ndarray]

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
    prefix = next((m[0] for name in state if (m := _PREFIX.match(name))), "")
    whole = [p for p in ("module.", "_orig_mod.") if all(name.startswith(p) for name in state)]
    prefix = prefix or next(iter(whole), "")  # of a tower that is not CLIP's own
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


_CONTAINERS = ("state_dict", "model_state_dict", "params", "model")


class LackingWeights(UserError):
    """Weights that are neither here nor to be fetched."""


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a file, and what is known of them.

    Args:
        tensors: by open_clip's names. quickgelu: the activation, where the file or its neighbour tells it, with the
            reason. notes: what was done to read them.
    """

    tensors: "Tensors"
    quickgelu: tuple[bool, str] | None = None
    notes: list[str] = field(default_factory=list)


def fingerprint(state: "Tensors") -> str:
    """Return the sha256 over sorted names, shapes and float32 values: equal for fp16 and fp32 files of equal values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = state[name]
        values = tensor if isinstance(tensor, np.ndarray) else tensor.detach().float().numpy()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(np.array(values, np.float32, order="C").data)
    return digest.hexdigest()


def _safetensors(file: Path) -> "Tensors":
    from safetensors.numpy import load_file

    try:
        return dict(load_file(file))
    except (TypeError, AttributeError):  # a type that NumPy lacks, such as bfloat16
        from safetensors.torch import load_file as load_by_torch

        return dict(load_by_torch(file))


def weights_file(key: str, path: str | Path) -> Path:
    """Return the file that a key names.

    Raises:
        LackingWeights: there is none.
    """
    if not (file := expanded(path)).is_file():
        raise LackingWeights(
            f"{key}={path}: no such file; give the path of a .pt or .safetensors file (magiqa methods says where a "
            "method's own weights come from)"
        )
    return file


def load_tensors(key: str, path: str | Path) -> "Tensors":
    """Read a file's tensors by the names in it, without running its code; those of safetensors are NumPy's.

    Args:
        key: of the config, for messages. path: its value.

    Raises:
        UserError: the file is missing, or is no TorchScript archive, state dict or safetensors file.
    """
    file, where = weights_file(key, path), f"{key}={path}"
    try:
        if file.suffix == ".safetensors":
            return _safetensors(file)
        import torch

        loaded: Any = (
            read_archive(file)
            if is_archive(file)
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        if refused := re.search(
            r"GLOBAL (\S+)", str(error)
        ):  # what torch's reader of pickles says of a class
            raise UserError(
                f"{where}: holds an object of the class {refused[1]}, and classes may run code; save "
                "model.state_dict() alone"
            ) from None
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{where}: not readable as a TorchScript archive, state dict or safetensors ({reason}); fetch the file "
            "again or convert it to safetensors"
        ) from None
    if isinstance(loaded, torch.Tensor):
        return {"": loaded}
    while isinstance(loaded, dict):
        inner = next((loaded[c] for c in _CONTAINERS if isinstance(loaded.get(c), dict)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"{where}: holds no state dict; save model.state_dict() there")
    for name, tensor in ((str(key), value) for key, value in loaded.items()):
        if not isinstance(tensor, torch.Tensor):
            raise UserError(f"{where}: entry {name!r} is no tensor; save model.state_dict() there")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(
                f"{where}: entry {name!r} claims the shape {tuple(tensor.shape)}, more than the file holds of it; "
                "fetch the file again"
            )
    return {str(name): tensor for name, tensor in loaded.items()}


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a CLIP's weights in any dialect.

    A TorchScript archive is OpenAI's if it holds the input resolution beside the weights, as all of theirs do.

    Raises:
        UserError: see `load_tensors` and `to_open_clip`.
    """
    where = f"backbone.checkpoint={path}"
    tensors = load_tensors("backbone.checkpoint", path)
    if "" in tensors:
        raise UserError(f"{where}: holds no state dict; save model.state_dict() there")
    quickgelu = None
    if "input_resolution" in tensors:
        quickgelu = (True, "OpenAI's archives were trained with QuickGELU")
    tensors = {name: tensor for name, tensor in tensors.items() if name not in NOT_WEIGHTS}
    tensors, activation, notes = to_open_clip(tensors, expanded(path), where)
    return Checkpoint(tensors, quickgelu or activation, notes)


@dataclass(frozen=True)
class Learned:
    """Tensors that stand in place of texts.

    Args:
        values: contexts (n, D) or (T, n, D), or text features (T, D), float32. sha256: of the values.
        prefix: the embedding of the start token that a file of contexts holds beside them.
    """

    values: np.ndarray
    sha256: str
    prefix: np.ndarray | None = None


def read_learned(prompts: PromptSet) -> Learned | None:
    """Read the file of ``prompts.context`` or ``prompts.features``; None where neither is set.

    Read are a bare tensor, ``params``, Dassl's and mmcv's ``state_dict``, and safetensors; no code of the file runs.
    Stored prefixes and suffixes are only compared: they follow from the texts.

    Raises:
        UserError: the file is missing, unreadable, or holds no such tensor.
    """
    path = prompts.context or prompts.features
    if path is None:
        return None
    key, name = ("context", "ctx") if prompts.context else ("features", "prompts_features")
    tensors = load_tensors(f"prompts.{key}", path)
    values = _named(tensors, name)
    if values is None and len(tensors) == 1:  # a bare tensor, or the only one
        values = _named({name: next(iter(tensors.values()))}, name)
    if values is None or values.ndim not in ((2, 3) if prompts.context else (2,)):
        raise UserError(
            f"prompts.{key}={path}: holds no tensor {name} of {'two or three' if prompts.context else 'two'} "
            f"dimensions, but {', '.join(sorted(tensors)[:3])}; give a file of learned "
            f"{'contexts' if prompts.context else 'text features'}"
        )
    prefix = _named(tensors, "token_prefix") if prompts.context else None
    start = None if prefix is None else prefix.reshape(-1, prefix.shape[-1])[0]
    return Learned(values, fingerprint({name: values}), start)


def _named(tensors: Mapping[str, Any], name: str) -> np.ndarray | None:
    for key, tensor in tensors.items():
        if key == name or key.endswith(f".{name}"):
            array = tensor if isinstance(tensor, np.ndarray) else tensor.detach().float().numpy()
            return np.ascontiguousarray(array, np.float32)
    return None

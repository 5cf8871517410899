"""A file of weights in, its tensors and their fingerprint out."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.torchscript import is_archive, read_archive
from magiqa.errors import UserError
from magiqa.package import expanded

if TYPE_CHECKING:
    import torch

_NOT_WEIGHTS = (
    "input_resolution",
    "context_length",
    "vocab_size",
)  # in OpenAI's archives, beside the weights


# of a safetensors file: types that NumPy has, and others that only torch reads
_NUMPY_TYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
_TORCH_TYPES = {"BF16", "F8_E4M3", "F8_E5M2", "U16", "U32", "U64"}


def fingerprint(state: "Mapping[str, torch.Tensor | np.ndarray]") -> str:
    """sha256 over the sorted names, shapes and float32 values: equal for fp16 and fp32 files of equal values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        found = state[name]
        values = found if isinstance(found, np.ndarray) else found.detach().float().numpy()
        digest.update(f"{name} {tuple(values.shape)}\n".encode())
        digest.update(np.array(values, np.float32, order="C").data)
    return digest.hexdigest()


def _safetensors(file: Path) -> "Mapping[str, torch.Tensor | np.ndarray]":
    from safetensors import safe_open

    with safe_open(file, "numpy") as opened:
        kinds = {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 (no mapping)
        if kinds <= _NUMPY_TYPES:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    strange = kinds - _NUMPY_TYPES - _TORCH_TYPES
    if strange:
        raise ValueError(f"tensors of type {', '.join(sorted(strange))} are no weights")
    from safetensors.torch import load_file

    return dict(load_file(file))


def read_checkpoint(path: str | Path) -> "tuple[Mapping[str, torch.Tensor | np.ndarray], bool]":
    """A checkpoint's tensors by name, and whether it is an archive as OpenAI released them.

    Those of a safetensors file are NumPy's: to know weights by their values, where nothing is encoded, needs no torch.

    A TorchScript archive is OpenAI's if it holds the input resolution beside the weights, as all of theirs do.

    Raises:
        UserError: the file is missing, or is no archive, state dict or safetensors file.
    """
    file = expanded(path)
    if not file.is_file():
        raise UserError(
            f"backbone.checkpoint={path}: no such file; give the path of a .pt or .safetensors file"
        )
    archive = False
    try:
        if file.suffix == ".safetensors":
            return _safetensors(file), False
        import torch

        archive = is_archive(file)
        if archive:
            loaded: Any = read_archive(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))  # what torch's reader of pickles says of a class
        if refused:
            raise UserError(
                f"backbone.checkpoint={path}: holds an object of the class {refused[1]}, and classes may run code; "
                "save model.state_dict() alone"
            ) from None
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"backbone.checkpoint={path}: not readable as a TorchScript archive, state dict or safetensors "
            f"({reason}); fetch the file again or convert it to safetensors"
        ) from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not loaded:
        raise UserError(f"backbone.checkpoint={path}: holds no state dict; save model.state_dict() there")
    state = {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}
    archive = archive and "input_resolution" in state
    state = {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}
    odd = next((name for name, tensor in state.items() if not isinstance(tensor, torch.Tensor)), None)
    if odd is not None:
        raise UserError(
            f"backbone.checkpoint={path}: entry {odd!r} is no tensor; save model.state_dict() there"
        )
    for name, tensor in state.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise UserError(
                f"backbone.checkpoint={path}: entry {name!r} claims the shape {tuple(tensor.shape)}, more than the "
                "file holds of it; fetch the file again"
            )
    return state, archive

"""A file of weights in, its tensors and their fingerprint out."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magiqa.backbones.torchscript import is_archive, read_archive
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

_NOT_WEIGHTS = (
    "input_resolution",
    "context_length",
    "vocab_size",
)  # in OpenAI's archives, beside the weights


def fingerprint(state: "dict[str, torch.Tensor]") -> str:
    """sha256 over the sorted names, shapes and float32 values: equal for fp16 and fp32 files of equal values."""
    digest = hashlib.sha256()
    for name in sorted(state):
        if name.endswith("num_batches_tracked"):
            continue
        tensor = state[name].detach().float().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def read_checkpoint(path: str | Path) -> "tuple[dict[str, torch.Tensor], bool]":
    """A checkpoint's tensors by name, and whether it is an archive as OpenAI released them.

    A TorchScript archive is OpenAI's if it holds the input resolution beside the weights, as all of theirs do.

    Raises:
        UserError: the file is missing, or is no archive, state dict or safetensors file.
    """
    import torch

    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"backbone.checkpoint={path}: no such file; give the path of a .pt or .safetensors file"
        )
    archive = False
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {k: v for k, v in load_file(file).items()}, False
        archive = is_archive(file)
        if archive:
            loaded: Any = read_archive(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
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

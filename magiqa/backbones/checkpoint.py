"""A file of weights in, its tensors under open_clip's names and their fingerprint out."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.dialects import NOT_WEIGHTS, to_open_clip
from magiqa.backbones.torchscript import is_archive, read_archive
from magiqa.errors import UserError
from magiqa.package import expanded

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, torch.Tensor | np.ndarray]

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

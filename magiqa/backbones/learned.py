"""Files of learned context vectors and of text features, known by the sha256 of their tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from magiqa.backbones.checkpoint import fingerprint, load_tensors
from magiqa.errors import UserError
from magiqa.method.prompts import PromptSet


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

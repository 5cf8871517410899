"""Find, read and identify a backbone's weights.

Traps this module closes (open_clip 3.x): a QuickGELU mismatch is a warning for tags and nothing at all for files
(image features of a ResNet agree, text features do not); OpenAI's TorchScript archives are not read; a positional
embedding is always added. MA-CLIP (arXiv:2511.09948, zhix000/MA-CLIP at 9581a2c) drops the image tower's.
"""

import json
import math
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.backbones.checkpoint import LackingWeights, fingerprint, read_checkpoint, weights_file
from magiqa.backbones.library import (
    DEMO,
    check_model_config,
    new_model,
    open_clip_module,
    quiet,
    without_waiting,
)
from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError, one_line
from magiqa.method.prompts import PromptSet

if TYPE_CHECKING:
    import torch


POSITIONAL = ("visual.positional_embedding", "visual.attnpool.positional_embedding")


@dataclass(frozen=True)
class Weights:
    """A checked state dict and what identifies it.

    Args:
        tensors: by name, in the architecture's own names; torch's, or NumPy's as read.
        sha256: of the tensors as float32 with their names.
        config: open_clip's architecture, ``quick_gelu`` decided. mean, std: of the pixels.
        source: where the tensors came from, in words. notes: what was done to read them.
    """

    tensors: "Mapping[str, torch.Tensor | np.ndarray]"
    sha256: str
    config: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    notes: tuple[str, ...] = ()

    @cached_property
    def state(self) -> "dict[str, torch.Tensor]":
        """The state dict."""
        import torch

        return {k: torch.from_numpy(t) if isinstance(t, np.ndarray) else t for k, t in self.tensors.items()}

    @property
    def quickgelu(self) -> bool:
        """Tell if the towers use QuickGELU."""
        return bool(self.config.get("quick_gelu", False))

    @property
    def described(self) -> str:
        """The source, with what was done to read it."""
        return "; ".join([self.source, *self.notes])

    def record(self, spec: Backbone) -> dict[str, Any]:
        """Return a record's words on the backbone with these weights."""
        return {
            "name": spec.name,
            "pretrained": spec.pretrained if spec.kind == "published" else None,
            "kind": spec.kind,
            "label": spec.shown_label,
            "weights_sha256": self.sha256,
            "source": self.described,
            "activation": "quickgelu" if self.quickgelu else "gelu",
            "positional_embedding": spec.positional_embedding,
        }


def _shipped_config(name: str) -> dict[str, Any] | None:
    """The demo's config, or one of open_clip's, read from its file: importing open_clip takes seconds."""
    package = find_spec("open_clip")
    shipped = Path(package.origin).parent / "model_configs" if package and package.origin else DEMO
    file = (DEMO if name == "demo" else shipped) / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def architecture(spec: Backbone) -> tuple[dict[str, Any], dict[str, Any]]:
    """open_clip's model config and preprocessing of a name or schema."""
    name = spec.located
    schema = name.partition(":")[0]
    try:
        config = _shipped_config(name) if schema == name == Path(name).name else None
        if config is None:
            with quiet(), without_waiting() if schema == "hf-hub" else nullcontext():
                config = open_clip_module().get_model_config(name)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise (LackingWeights if schema == "hf-hub" else UserError)(
            f"backbone.name={spec.name}: its config cannot be had ({reason}); check the name, or the folder's "
            "open_clip_config.json, or fill the hub cache where there is a network"
        ) from None
    if config is None:
        raise UserError(
            f"backbone.name={spec.name}: open_clip knows no such architecture; "
            "see open_clip.list_models(), or use hf-hub:org/repo or local-dir:FOLDER"
        )
    check_model_config(config, spec)
    try:
        preprocess = _preprocessing(name)
        pixels = [preprocess[key] for key in ("mean", "std") if preprocess.get(key) is not None]
        if not all(len(values) == 3 and all(map(math.isfinite, values)) for values in pixels):
            raise ValueError("mean and std are three numbers each")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"backbone.name={spec.name}: preprocess_cfg in its open_clip_config.json is not readable "
            f"({one_line(error)}); mend it"
        ) from None
    return config, preprocess


def _preprocessing(name: str) -> dict[str, Any]:
    """Return the preprocessing that a folder's or a hub model's config holds; empty for open_clip's own names."""
    schema, _, where = name.partition(":")
    if schema == "local-dir":
        own = json.loads((Path(where) / "open_clip_config.json").read_text())
    elif schema == "hf-hub":
        own = open_clip_module().factory._get_hf_config(where)
    else:
        return {}
    return dict(own.get("preprocess_cfg") or {})


def _published(spec: Backbone) -> tuple[Path, dict[str, Any]]:
    """Path and pretrained config of published weights: package data, local folder, hub cache or download."""
    if spec.name == "demo":
        return DEMO / "demo.safetensors", {}
    open_clip = open_clip_module()
    where = f"backbone.name={spec.name} backbone.pretrained={spec.pretrained}"
    try:
        if spec.name.startswith("local-dir:"):
            folder = Path(spec.located.removeprefix("local-dir:"))
            found = open_clip.factory._find_checkpoint_in_dir(folder)
            if not found:
                raise FileNotFoundError(f"no weights in {folder}")
            return Path(found), {}
        if spec.name.startswith("hf-hub:"):
            model_id = spec.name.removeprefix("hf-hub:")
            with without_waiting():
                return Path(open_clip.pretrained.download_pretrained_from_hf(model_id)), {}
        if not spec.pretrained:
            raise UserError(
                f"backbone.pretrained is not set for backbone.name={spec.name}: give an open_clip tag, "
                "backbone.checkpoint=FILE, or backbone.untrained=SEED"
            )
        config = _tag(spec)
        if config:
            with without_waiting():
                return Path(open_clip.pretrained.download_pretrained(config)), config
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise LackingWeights(
            f"{where}: the weights are neither in the hub cache nor to be downloaded ({reason}); "
            "give backbone.checkpoint=FILE, or fill HF_HOME where there is a network"
        ) from None
    tags = open_clip.list_pretrained_tags_by_model(spec.name)
    raise UserError(f"{where}: no such tag; open_clip has {', '.join(tags) or 'none'} for {spec.name}")


def _tag(spec: Backbone) -> dict[str, Any]:
    """open_clip's pretrained config of the spec's tag, or an empty one.

    A tag is listed under the plain name, the ``-quickgelu`` name, or both.
    """
    if not spec.pretrained:
        return {}
    find = open_clip_module().pretrained.get_pretrained_cfg
    return find(spec.name, spec.pretrained) or find(f"{spec.name}-quickgelu", spec.pretrained) or {}


def _decide_quickgelu(
    spec: Backbone, config: dict[str, Any], tag: dict[str, Any], known: tuple[bool, str] | None = None
) -> bool:
    """The activation the weights were trained with; an error where the config says otherwise, or nothing does."""
    given = spec.quickgelu
    if known is None and spec.kind in ("published", "demo"):
        says = f"open_clip's tag {spec.pretrained}" if tag else "its own config"
        known = (bool((tag or config).get("quick_gelu", False)), f"{says} says so")
    if known is not None:
        if given is not None and given != known[0]:
            raise UserError(
                f"QuickGELU mismatch: backbone.quickgelu={str(given).lower()}, but these weights need "
                f"{str(known[0]).lower()} ({known[1]}); drop backbone.quickgelu or set it to {str(known[0]).lower()}"
            )
        return known[0]
    if given is not None:
        return given
    if spec.checkpoint is not None and tag:
        return bool(tag.get("quick_gelu", False))
    if spec.checkpoint is not None and f"{spec.name}-quickgelu" in open_clip_module().list_models():
        raise UserError(
            f"backbone.checkpoint={spec.checkpoint}: the file does not say which activation its weights were trained "
            f"with, and {spec.name} exists with both; set backbone.quickgelu=true (as OpenAI's) or false (as most of "
            "open_clip's)"
        )
    return bool(config.get("quick_gelu", False))


def _other_grid(state: Mapping[str, Any], config: dict[str, Any]) -> list[str]:
    """Return a note where the positional embedding is of another grid than the config's, and will be resized."""
    vision = config.get("vision_cfg", {})
    table = next((state[name] for name in POSITIONAL if name in state), None)
    sizes = vision.get("image_size"), vision.get("patch_size") or 32
    if table is None or vision.get("timm_model_name") or not all(isinstance(n, int) and n > 0 for n in sizes):
        return []
    side = sizes[0] // sizes[1]
    if len(table) == side * side + 1:
        return []
    return [f"positional embedding of {len(table) - 1} places resized to {side}x{side}"]


def check_files(spec: Backbone, prompts: PromptSet) -> None:
    """Check that the files of weights that a method names are here.

    Raises:
        LackingWeights: one is not.
    """
    files = {
        "backbone.checkpoint": spec.checkpoint,
        "prompts.context": prompts.context,
        "prompts.features": prompts.features,
    }
    for key, path in files.items():
        if path is not None:
            weights_file(key, path)


def find_weights(spec: Backbone, prompts: PromptSet, *, offline: bool = False) -> None:
    """Have a method's published weights fetched, unread, and check that its files are here.

    Args:
        offline: look into the hub's cache alone.

    Raises:
        LackingWeights: they are neither here nor to be fetched. UserError: see `load_weights`.
    """
    check_files(spec, prompts)
    if spec.kind == "published":
        with without_waiting(offline):
            architecture(spec)
            _published(spec)


def load_weights(spec: Backbone) -> Weights:
    """Find, read and identify a backbone's weights.

    Raises:
        UserError: unknown name or tag, unreadable file, QuickGELU mismatch.
    """
    config, preprocess = architecture(spec)
    tag: dict[str, Any] = {}
    notes: list[str] = []
    if spec.untrained is not None:
        config["quick_gelu"] = _decide_quickgelu(spec, config, tag)
        state: Mapping[str, Any] = new_model(spec, config, spec.untrained).state_dict()
        source = f"random weights, seed {spec.untrained}"
    else:
        if spec.checkpoint is not None:
            path, tag = Path(spec.checkpoint), _tag(spec)
        else:
            path, tag = _published(spec)
        preprocess = {**preprocess, **tag}
        checkpoint = read_checkpoint(path)
        state, notes = checkpoint.tensors, checkpoint.notes
        config["quick_gelu"] = _decide_quickgelu(spec, config, tag, checkpoint.quickgelu)
        source = path.name if spec.checkpoint is None else str(path)
    notes += _other_grid(state, config)
    mean = tuple(preprocess.get("mean") or (0.48145466, 0.4578275, 0.40821073))
    std = tuple(preprocess.get("std") or (0.26862954, 0.26130258, 0.27577711))
    return Weights(state, fingerprint(state), config, mean, std, source, tuple(notes))

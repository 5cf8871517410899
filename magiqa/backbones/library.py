"""open_clip, as this room uses it: without its warnings, with the demo among its models."""

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from magiqa.backbones.spec import Backbone
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

DEMO = Path(__file__).parent / "demo"

# what a model's config may say of its tokenizer: everything else goes to transformers, which can import code by it
TOKENIZER_KEYS = {"clean", "language", "strip_sep_token"}


WIDEST = 8192  # of a tower; memory grows with its square


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's warnings and logs to itself for the block, and transformers from asking to run code."""
    # open_clip logs on the root logger that no weights were asked for; magiqa loads them itself.
    open_clip_module()  # which imports transformers where it is installed
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    dynamic: Any = sys.modules.get("transformers.dynamic_module_utils")
    seconds = getattr(dynamic, "TIME_OUT_REMOTE_CODE", None)
    if seconds is not None:
        dynamic.TIME_OUT_REMOTE_CODE = 0  # for a question whether to run a model's code: none is asked
    try:
        yield
    finally:
        logging.disable(previous)
        if seconds is not None:
            dynamic.TIME_OUT_REMOTE_CODE = seconds


def check_model_config(config: Any, spec: Backbone) -> None:
    """Refuse a model's config that is none, or that could import code or lead to another model.

    Raises:
        UserError: it names the key.
    """
    where = f"backbone.name={spec.name}: its open_clip_config.json"
    parts = (
        {key: config.get(key) or {} for key in ("text_cfg", "vision_cfg")}
        if isinstance(config, Mapping)
        else {}
    )
    if not parts or not all(isinstance(part, Mapping) for part in parts.values()):
        raise UserError(f"{where} holds no model_cfg with text_cfg and vision_cfg; fetch the folder again")
    options = parts["text_cfg"].get("tokenizer_kwargs") or {}
    options = options if isinstance(options, Mapping) else [options]
    strange = [str(key) for key in options if str(key) not in TOKENIZER_KEYS]
    if strange:
        raise UserError(
            f"{where} holds text_cfg.tokenizer_kwargs.{strange[0]}, which may run code; magiqa takes "
            f"{', '.join(sorted(TOKENIZER_KEYS))} only: remove it"
        )
    wide = [
        key for key, part in parts.items() if isinstance(part.get("width"), int) and part["width"] > WIDEST
    ]
    if wide:
        raise UserError(
            f"{where} holds {wide[0]}.width over {WIDEST}, more than any CLIP has; fetch the folder again"
        )
    tower = str(parts["vision_cfg"].get("timm_model_name") or "")
    if ":" in tower:
        raise UserError(f"{where} has its image tower from {tower}; give backbone.name that name instead")


def tokenizer_of(spec: Backbone, config: Mapping[str, Any]) -> Any:
    """Return the tokenizer that a checked model config names; no code of its author's is imported."""
    from_hub = (config.get("text_cfg") or {}).get("hf_tokenizer_name")
    options = {"trust_remote_code": False} if from_hub else {}
    return open_clip_module().get_tokenizer(spec.located, **options)


@contextmanager
def without_waiting(offline: bool = False) -> Iterator[None]:
    """Use the hub's cache alone if asked to, or if the hub has no address: its client would try again for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline or not _has_address(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _has_address(endpoint: str) -> bool:
    """Tell if a host's name can be looked up. A proxy does that itself, so behind one the answer is yes."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(endpoint).hostname, None))
    except OSError:
        return False


def open_clip_module() -> Any:
    """open_clip, the demo among its architectures."""
    import open_clip

    if "demo" not in open_clip.list_models() and (DEMO / "demo.json").is_file():
        open_clip.add_model_config(DEMO)
    return open_clip


def new_model(spec: Backbone, config: dict[str, Any], seed: int = 0) -> "torch.nn.Module":
    """A model with random weights of that seed; the caller's random numbers stay as they were."""
    import torch

    options = {"load_weights": False, "pretrained_text": False, "quick_gelu": bool(config.get("quick_gelu"))}
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            return open_clip_module().create_model(spec.located, **options).eval()
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"backbone.name={spec.name}: open_clip cannot build this architecture ({reason}); check its config, or "
            "install what it asks for"
        ) from None

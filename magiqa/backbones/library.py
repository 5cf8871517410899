"""open_clip, as this room uses it: without its warnings, with the demo among its models."""

import logging
import os
import socket
from collections.abc import Iterator
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


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip's warnings and logs to itself for the block."""
    # open_clip logs on the root logger that no weights were asked for; magiqa loads them itself.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


@contextmanager
def without_waiting() -> Iterator[None]:
    """The hub's cache alone where the hub has no address: its client would try again for a minute for each backbone."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _has_address(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _has_address(endpoint: str) -> bool:
    """Whether a host's name can be looked up; a proxy does that itself, so behind one it is taken to be."""
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

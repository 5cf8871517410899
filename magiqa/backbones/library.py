"""open_clip, as this room uses it: without its warnings, with the demo among its models."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

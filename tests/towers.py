"""Small image towers and pictures, for tests of engines."""

import os

import numpy as np
import torch
from PIL import Image

from magiqa.engines.engine import probe_views

SIZE = (64, 64)
DEVICE = os.environ.get("MAGIQA_TEST_DEVICE", "cpu")  # scripts/gpu_check.py sets it


def tower(kind: str) -> torch.nn.Module:
    """A small image tower with batch norms that do something and no positional embedding."""
    import open_clip

    vision = {
        "resnet": {"layers": [1, 2, 1, 1], "width": 16, "image_size": 64},
        "vit": {"layers": 3, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 64},
    }[kind]
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    torch.manual_seed(0)
    visual = open_clip.model.CLIP(48, vision, text, quick_gelu=True).visual.eval()
    norms = [m for m in visual.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for m in norms:
        torch.nn.init.uniform_(m.weight, 0.5, 1.5)
        torch.nn.init.normal_(m.bias, std=0.3)
        m.momentum = None
    with (
        torch.no_grad()
    ):  # batch norms that fit their input, or all views would look the same to the layers above
        visual.train()(torch.from_numpy(pictures(32)))
    visual.eval()
    for m in norms:
        m.running_mean += 0.1 * torch.randn_like(m.running_mean)
    owner = visual.attnpool if kind == "resnet" else visual
    width = owner.positional_embedding.shape[1]
    owner.positional_embedding = torch.nn.Parameter(torch.zeros(1, width), requires_grad=False)
    visual.requires_grad_(True)
    features = plain(visual, probe_views(2, SIZE))
    assert (
        error(features[:1], features[1:]) > 0.05
    )  # a tower that tells views apart, or no test here could fail
    return visual


def pictures(n: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Views that differ as photos do: coarse colors under some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 3, size[0] // 16, size[1] // 16)).repeat(16, 2).repeat(16, 3)
    return (coarse + 0.3 * rng.normal(size=(n, 3, *size))).astype(np.float32)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth structure plus noise, so that no two windows and no two resizes agree by chance."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    base = 127 + 80 * np.sin(x / 17 + seed) * np.cos(y / 23)
    noisy = base[..., None] + rng.integers(-40, 40, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def plain(visual: torch.nn.Module, views: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return visual(torch.from_numpy(np.ascontiguousarray(views))).numpy()


def error(features: np.ndarray, reference: np.ndarray) -> float:
    return float((np.linalg.norm(features - reference, axis=1) / np.linalg.norm(reference, axis=1)).max())

"""Train the demo backbone: one command, on freely licensed wallpapers from Debian packages, on two CPU cores.

    python scripts/train_demo.py [--work DIR] [--out magiqa/backbones/demo/demo.safetensors] [--pilot]

Fetches the packages with ``apt-get download`` (a Debian or Ubuntu machine), unpacks them into the work folder (default:
the user's cache), cuts crops, trains, and chooses among the checkpoints by held-out wallpapers alone. No opinion scores
and no image of an evaluation set are used.

What is learnt: (1) picture-caption pairs by InfoNCE, captions speaking of content and quality; (2) the softmax over a
pair of opposite prompts follows the synthetic severity of what the pair speaks about; (3) of two levels of one crop the
milder one scores higher.
"""

import argparse
import colorsys
import hashlib
import io
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # a shared machine: do not spin

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from scipy import ndimage, stats
from tqdm import tqdm

from magiqa.backbones.library import DEMO
from magiqa.images.distortions import LEVELS, SEEN, distort

PACKAGES = (
    "gnome-backgrounds",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "ukui-wallpapers",
)
SKLEARN = ("china.jpg", "flower.jpg")  # scikit-learn's two photos, where it is installed
FIVE_PAIRS = (  # MA-CLIP's, used to choose between checkpoints
    ("Good image", "bad image"),
    ("Sharp image", "blurry image"),
    ("sharp edges", "blurry edges"),
    ("High resolution image", "low resolution image"),
    ("Noise-free image", "noisy image"),
)
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


@dataclass(frozen=True)
class Config:
    """Everything that shapes the weights. ``steps`` of ``pairs`` x 2 images; the last part at a larger size."""

    seed: int = 5
    crop: int = 256
    crops_an_image: int = 48
    held_out: int = 14
    pairs: int = 36
    steps: int = 1200
    size: int = 128
    late_size: int = 192
    late_from: float = 0.85
    late_pairs: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup: int = 150
    cool_from: float = 0.5
    ema: float = 0.99
    prompt_pairs: int = 14
    weight_caption: float = 0.4
    weight_prompt: float = 1.0
    weight_rank: float = 0.7
    check_every: int = 150
    threads: int = 2


# --- data -------------------------------------------------------------------------------------------------------------


def fetch(work: Path) -> Path:
    """Download and unpack the packages; returns the folder that holds them."""
    debs, unpacked = work / "debs", work / "unpacked"
    debs.mkdir(parents=True, exist_ok=True)
    unpacked.mkdir(exist_ok=True)
    for package in PACKAGES:
        if (unpacked / package).is_dir():
            continue
        if not list(debs.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=debs, check=True)
        found = sorted(debs.glob(f"{package}_*.deb"))
        part = unpacked / f".{package}"
        subprocess.run(["dpkg-deb", "-x", str(found[-1]), str(part)], check=True)
        part.rename(unpacked / package)
    return unpacked


def pictures(unpacked: Path) -> list[Path]:
    """The largest version of each wallpaper, without drawings under 500 pixels and double scenes; sorted by name."""
    best: dict[tuple[str, str], tuple[float, Path]] = {}
    for file in sorted(unpacked.rglob("*")):
        if file.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp") or file.is_symlink():
            continue
        with Image.open(file) as image:
            area, short = image.width * image.height, min(image.size)
        if short < 500:
            continue
        in_plasma = "contents" in file.parts
        stem = file.parts[file.parts.index("contents") - 1] + file.parent.name if in_plasma else file.stem
        key = (file.relative_to(unpacked).parts[0], stem.split("_3840")[0].split("_5640")[0])
        if key not in best or area > best[key][0]:
            best[key] = (area, file)
    found = [file for _, file in best.values()]
    try:
        import sklearn.datasets

        found += [Path(sklearn.datasets.__file__).parent / "images" / name for name in SKLEARN]
    except ImportError:
        print("scikit-learn is not installed: its two photos are left out", file=sys.stderr)
    return sorted(found, key=lambda f: str(f.name) + str(f))


def words_of(file: Path) -> str:
    """Return the words of a file's name: ``Infinite-Sea_by_Aury88.jpg`` -> ``infinite sea``."""
    name = file.parts[file.parts.index("contents") - 1] if "contents" in file.parts else file.stem
    name = re.sub(r"_by_.*|\d+|no-logo|-[dl]$", "", name)
    words = re.findall(r"[A-Z]?[a-z]+", name)
    return " ".join(
        w.lower() for w in words if w.lower() not in ("mate", "ubuntu", "picture", "default", "konqui")
    )


def _interesting(crop: np.ndarray) -> bool:
    # sharp somewhere: a flat or defocused pristine crop would teach that blur is good
    luma = crop @ np.array([0.299, 0.587, 0.114])
    return bool(np.percentile(np.abs(ndimage.laplace(luma)), 95) > 14)


def cut_crops(files: list[Path], work: Path, config: Config) -> tuple[np.memmap, list[dict[str, Any]]]:
    """(N, crop, crop, 3) uint8 on disk, and for each crop its file, words and split."""
    key = hashlib.sha256(
        json.dumps([[f.name for f in files], config.seed, config.crop, config.crops_an_image]).encode()
    )
    base = work / f"crops-{key.hexdigest()[:12]}"
    if not base.with_suffix(".json").is_file():
        rng = np.random.default_rng(config.seed)
        crops: list[np.ndarray] = []
        rows: list[dict[str, Any]] = []
        for file in tqdm(files, desc="crops", unit="picture"):
            with Image.open(file) as opened:
                opened.draft("RGB", (2400, 2400))
                image = (
                    opened.convert("RGBA") if opened.mode in ("RGBA", "LA", "P") else opened.convert("RGB")
                )
            if image.mode == "RGBA":
                if np.asarray(image.getchannel("A")).min() < 255:
                    continue  # transparent drawings have no background of their own
                image = image.convert("RGB")
            short = min(image.size)
            low, high = math.log(config.crop * 1.1), math.log(max(config.crop * 1.2, min(short / 1.3, 1400)))
            kept = 0
            for _ in range(6):  # a few scales, each cut several times
                scale = math.exp(rng.uniform(low, high)) / short
                scaled = image.resize(
                    (round(image.width * scale), round(image.height * scale)),
                    Image.Resampling.LANCZOS,
                    reducing_gap=3.0,
                )
                for _ in range(16):
                    left = int(rng.integers(0, scaled.width - config.crop + 1))
                    top = int(rng.integers(0, scaled.height - config.crop + 1))
                    crop = np.asarray(scaled.crop((left, top, left + config.crop, top + config.crop)))
                    if kept < config.crops_an_image and _interesting(crop):
                        crops.append(crop)
                        rows.append({"file": file.name, "words": words_of(file)})
                        kept += 1
        np.stack(crops).tofile(base.with_suffix(".raw"))
        base.with_suffix(".json").write_text(json.dumps(rows))
    rows = json.loads(base.with_suffix(".json").read_text())
    shape = (len(rows), config.crop, config.crop, 3)
    names = sorted({row["file"] for row in rows if sum(r["file"] == row["file"] for r in rows) >= 8})
    held = set(np.random.default_rng(config.seed + 1).permutation(names)[: config.held_out].tolist())
    for row in rows:
        row["held_out"] = row["file"] in held
    return np.memmap(base.with_suffix(".raw"), np.uint8, "r", shape=shape), rows


# --- distortions of training: families wider than SEEN, none of UNSEEN -----------------------------------------------
# Each takes (image, strength in 0..1, rng of the recipe) and gives the image and how much it harms each aspect.

Harm = dict[str, float]


def _log(strength: float, low: float, high: float) -> float:
    return low * (high / low) ** strength


def _blur(image: Image.Image, s: float, rng: np.random.Generator) -> tuple[Image.Image, Harm]:
    kind = rng.choice(["gauss", "gauss", "box", "disk", "median"])
    sigma = _log(s, 0.45, 5.0)
    if kind == "gauss":
        image = image.filter(ImageFilter.GaussianBlur(sigma))
    elif kind == "box":
        image = image.filter(ImageFilter.BoxBlur(sigma * 1.5))
    elif kind == "median":
        image = image.filter(ImageFilter.MedianFilter(3 if s < 0.35 else 5 if s < 0.75 else 7))
    else:
        radius = max(1, round(sigma * 1.6))
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        kernel = (x * x + y * y <= (radius + 0.3) ** 2).astype(np.float32)
        kernel /= kernel.sum()
        pixels = np.asarray(image).astype(np.float32)
        out = np.stack([ndimage.convolve(pixels[..., c], kernel) for c in range(3)], -1)
        image = Image.fromarray(np.clip(out + 0.5, 0, 255).astype(np.uint8))
    return image, {"sharp": s, "detail": 0.7 * s}


def _noise(image: Image.Image, s: float, rng: np.random.Generator) -> tuple[Image.Image, Harm]:
    kind = rng.choice(["white", "white", "luma", "grain", "shot"])
    pixels = np.asarray(image).astype(np.float32)
    sigma = _log(s, 3.0, 55.0)
    height, width = pixels.shape[:2]
    if kind == "luma":
        noise = rng.standard_normal((height, width, 1), dtype=np.float32)
    else:
        noise = rng.standard_normal((height, width, 3), dtype=np.float32)
    if kind == "grain":
        noise = ndimage.uniform_filter(noise, (2, 2, 1)) * 2.0
    if kind == "shot":
        noise = noise * np.sqrt((pixels + 8.0) / 110.0)
    image = Image.fromarray(np.clip(pixels + sigma * noise + 0.5, 0, 255).astype(np.uint8))
    return image, {"noise": s, "sharp": 0.25 * s, "detail": 0.2 * s}


def _low_resolution(image: Image.Image, s: float, rng: np.random.Generator) -> tuple[Image.Image, Harm]:
    factor = _log(s, 1.2, 8.0)
    down = rng.choice([Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
    up = rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
    small = image.resize(
        (max(4, round(image.width / factor)), max(4, round(image.height / factor))), int(down)
    )
    return small.resize(image.size, int(up)), {"detail": s, "sharp": 0.7 * s}


def _jpeg(image: Image.Image, s: float, rng: np.random.Generator) -> tuple[Image.Image, Harm]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=round(_log(s, 60, 4)), subsampling=int(rng.choice([0, 2])))
    return Image.open(buffer).convert("RGB"), {"codec": s, "detail": 0.4 * s, "sharp": 0.3 * s}


def _light(image: Image.Image, s: float, rng: np.random.Generator) -> tuple[Image.Image, Harm]:
    kind = rng.choice(["dark", "dark", "bright", "flat", "grey"])
    pixels = np.asarray(image).astype(np.float32) / 255
    if kind == "dark":
        pixels = pixels ** (1 + s) * (1 - 0.6 * s)
    elif kind == "bright":
        pixels = pixels * (1 + 1.5 * s) + 0.1 * s
    elif kind == "flat":
        pixels = pixels.mean() + (pixels - pixels.mean()) * (1 - 0.8 * s)
    else:
        pixels = pixels.mean(-1, keepdims=True) * s + pixels * (1 - s)
    image = Image.fromarray(np.clip(255 * pixels + 0.5, 0, 255).astype(np.uint8))
    return image, {str(kind): s} if kind != "grey" else {"grey": 0.5 * s}


def _halo(image: Image.Image, s: float, rng: np.random.Generator) -> tuple[Image.Image, Harm]:
    radius = float(rng.uniform(0.8, 3.0))
    return image.filter(ImageFilter.UnsharpMask(radius, round(100 + 500 * s), 0)), {
        "halo": 0.8 * s,
        "noise": 0.3 * s,
    }


FAMILIES = (_blur, _noise, _low_resolution, _jpeg, _light, _halo)
CHANCES = (0.26, 0.26, 0.20, 0.14, 0.09, 0.05)

# aspect: (words for good, words for bad); each word may stand before any noun
WORDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "overall": (
        ("good", "excellent", "high quality", "perfect", "beautiful", "clean", "great", "pristine",
         "professional", "fine", "pleasant", "clear"),
        ("bad", "terrible", "low quality", "poor", "ugly", "degraded", "awful", "damaged",
         "distorted", "corrupted", "unpleasant", "unclear"),
    ),
    "sharp": (
        ("sharp", "crisp", "in focus", "focused", "well defined", "sharp edges in this", "not blurry"),
        ("blurry", "blurred", "out of focus", "unfocused", "smeared", "soft", "fuzzy", "blurry edges in this"),
    ),
    "detail": (
        ("high resolution", "detailed", "high definition", "fine detailed", "hd", "rich detail in this"),
        ("low resolution", "pixelated", "low definition", "coarse", "upscaled", "lacking detail"),
    ),
    "noise": (
        ("noise-free", "clean", "noiseless", "smooth", "without noise", "grainless"),
        ("noisy", "grainy", "speckled", "full of noise", "grain in this", "noise in this"),
    ),
    "codec": (
        ("uncompressed", "artifact-free", "lossless", "without artifacts"),
        ("compressed", "blocky", "jpeg artifacts in this", "artifacts in this", "heavily compressed"),
    ),
    "dark": (("well lit", "well exposed"), ("underexposed", "too dark", "dark", "dim")),
    "bright": (("well exposed", "balanced"), ("overexposed", "too bright", "washed out", "blown out")),
    "flat": (("high contrast", "contrasty", "vivid"), ("low contrast", "flat", "dull", "hazy")),
    "grey": (("colorful", "colourful", "vibrant"), ("colorless", "faded", "dull colors in this", "desaturated")),
    "halo": (("natural", "realistic"), ("oversharpened", "harsh", "unnatural", "artificial")),
}  # fmt: skip
NOUNS = ("image", "image", "photo", "picture", "photograph", "picture", "shot", "view", "wallpaper")
ASPECT_CHANCES = {
    "overall": 0.34, "sharp": 0.17, "detail": 0.15, "noise": 0.15, "codec": 0.06,
    "dark": 0.03, "bright": 0.02, "flat": 0.03, "grey": 0.02, "halo": 0.03,
}  # fmt: skip
FIVE_ASPECTS = ("overall", "sharp", "sharp", "detail", "noise")


def phrase(word: str, noun: str, rng: np.random.Generator) -> str:
    """A short prompt in one of several forms, first letter in either case, with or without a full stop."""
    if word.endswith("this"):
        text = f"{word} {noun}" if rng.random() < 0.7 else word.removesuffix(" in this")
    else:
        forms = (f"{word} {noun}", f"a {word} {noun}", f"{noun} that is {word}", f"the {noun} is {word}")
        text = forms[int(rng.choice(4, p=[0.6, 0.25, 0.05, 0.1]))]
    text = text[0].upper() + text[1:] if rng.random() < 0.4 else text
    return text + ("." if rng.random() < 0.2 else "")


def prompt_pair(aspect: str, rng: np.random.Generator) -> tuple[str, str]:
    """Opposite prompts about one aspect, in the same form and noun."""
    good, bad = WORDS[aspect]
    nouns = (*NOUNS, "edges", "details") if aspect == "sharp" else NOUNS
    noun, seed = str(rng.choice(nouns)), int(rng.integers(1 << 31))
    return tuple(phrase(str(rng.choice(w)), noun, np.random.default_rng(seed)) for w in (good, bad))  # type: ignore[return-value]


def _color_words(pixels: np.ndarray) -> str:
    red, green, blue = (pixels.reshape(-1, 3).mean(0) / 255).tolist()
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    tone = "dark" if value < 0.3 else "bright" if value > 0.75 else ""
    if saturation < 0.15:
        return f"{tone} grey".strip()
    names = (
        "red",
        "orange",
        "yellow",
        "green",
        "green",
        "cyan",
        "blue",
        "blue",
        "violet",
        "purple",
        "pink",
        "red",
    )
    return f"{tone} {names[int(hue * 12) % 12]}".strip()


def caption(words: str, color: str, harm: Harm, rng: np.random.Generator) -> str:
    """One sentence on quality and content, each part sometimes left out."""
    total = 1 - math.prod(1 - v for v in harm.values()) if harm else 0.0
    worst = max(harm, key=lambda k: harm[k]) if harm else "overall"
    if total < 0.25:
        aspect = str(rng.choice(list(ASPECT_CHANCES)[:5]))
        if harm.get(aspect, 0.0) > 0.15:
            aspect = "overall"
        word = str(rng.choice(WORDS[aspect][0]))
    else:
        word = str(rng.choice(WORDS["overall" if rng.random() < 0.3 else worst][1]))
        if total < 0.5 and not word.endswith("this"):
            word = str(rng.choice(["slightly ", "a bit ", "somewhat "])) + word
    text = phrase(word, str(rng.choice(NOUNS)), rng).rstrip(".")
    subject = " ".join(
        p for p in (color if rng.random() < 0.7 else "", words if rng.random() < 0.8 else "") if p
    )
    return f"{text} of {subject}" if subject else text


class Pairs(torch.utils.data.Dataset[Any]):
    """Two levels of one crop, with captions and harms; sample ``i`` depends on ``i`` and the seed alone."""

    def __init__(self, crops: np.memmap, rows: list[dict[str, Any]], config: Config) -> None:
        self.crops, self.rows, self.config = crops, rows, config
        files = sorted({r["file"] for r in rows if not r["held_out"]})
        self.by_file = [[i for i, r in enumerate(rows) if r["file"] == f] for f in files]

    def __getitem__(self, item: tuple[int, int]) -> tuple[torch.Tensor, list[str], list[Harm]]:
        number, size = item
        config = self.config
        rng = np.random.default_rng([config.seed, number])
        weights = np.sqrt([len(f) for f in self.by_file])
        of_file = self.by_file[int(rng.choice(len(self.by_file), p=weights / weights.sum()))]
        index = int(rng.choice(of_file))
        image = Image.fromarray(self.crops[index])
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < 0.15:
            image = image.transpose(Image.Transpose.ROTATE_90)
        strided = (
            size <= 128 and rng.random() < 0.2
        )  # the global view: shrunk without antialias after the distortion
        region = size * 2 if strided else int(rng.integers(size, config.crop + 1))
        left, top = (int(v) for v in rng.integers(0, config.crop - region + 1, 2))
        side = region if strided else size
        image = image.resize(
            (side, side), Image.Resampling.BICUBIC, box=(left, top, left + region, top + region)
        )
        pixels: np.ndarray = np.asarray(image).astype(np.float32)
        pixels = pixels * rng.uniform(0.8, 1.15) * rng.uniform(0.93, 1.07, 3) + rng.uniform(
            -8, 8
        )  # jitter: no harm
        gray = pixels.mean(-1, keepdims=True)
        pixels = gray + (pixels - gray) * (0.0 if rng.random() < 0.08 else rng.uniform(0.6, 1.3))
        pristine = Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))
        count = int(rng.choice([1, 2, 3], p=[0.6, 0.27, 0.13]))
        recipe = rng.choice(len(FAMILIES), count, replace=False, p=CHANCES)
        own = rng.uniform(0.5, 1.0, count) if count > 1 else np.ones(1)
        low = 0.0 if rng.random() < 0.35 else float(rng.uniform(0.02, 0.8))
        high = float(rng.uniform(min(low + 0.12, 0.9), 1.0))
        color, words = _color_words(np.asarray(pristine)), self.rows[index]["words"]
        tensors, captions, harms = [], [], []
        for strength in (low, high):
            image, harm = pristine, Harm()
            for step, family in enumerate(recipe):
                if strength <= 0:
                    break
                image, added = FAMILIES[family](
                    image, float(strength * own[step]), np.random.default_rng([config.seed, number, step])
                )
                for aspect, value in added.items():
                    harm[aspect] = 1 - (1 - harm.get(aspect, 0.0)) * (1 - value)
            pixels8 = np.array(image)
            if strided:
                pixels8 = pixels8[1::2, 1::2] if rng.random() < 0.5 else pixels8[::2, ::2]
            tensors.append(torch.from_numpy(np.ascontiguousarray(pixels8)))
            captions.append(caption(words, color, harm, rng))
            harms.append(harm)
        return torch.stack(tensors), captions, harms


class Batches(torch.utils.data.Sampler[Any]):
    """Sample numbers and sizes of each step."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __len__(self) -> int:
        return self.config.steps

    def __iter__(self) -> Any:
        c = self.config
        for step in range(c.steps):
            late = step >= c.late_from * c.steps
            pairs, size = (c.late_pairs, c.late_size) if late else (c.pairs, c.size)
            yield [(step * c.pairs + i, size) for i in range(pairs)]


def collate(items: list[Any]) -> tuple[torch.Tensor, list[str], list[Harm]]:
    pixels = torch.cat([t for t, _, _ in items])
    return pixels, [c for _, cs, _ in items for c in cs], [h for _, _, hs in items for h in hs]


# --- model ------------------------------------------------------------------------------------------------------------


def new_model(config: Config) -> Any:
    from open_clip.model import CLIP

    torch.manual_seed(config.seed)
    spec = json.loads((DEMO / "demo.json").read_text())
    model = CLIP(spec["embed_dim"], spec["vision_cfg"], spec["text_cfg"], quick_gelu=spec["quick_gelu"])
    # evaluation drops the positional embedding: it is zero from the start and stays so
    model.visual.attnpool.positional_embedding = torch.nn.Parameter(
        torch.zeros(1, model.visual.attnpool.positional_embedding.shape[1]), requires_grad=False
    )
    model.visual.to(memory_format=torch.channels_last)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(20.0))
    return model


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    out = (pixels.float() / 255 - MEAN) / STD
    return out.permute(0, 3, 1, 2)  # (B, H, W, C) storage: channels_last already


def losses(
    model: Any, tokenizer: Any, batch: Any, step: int, config: Config
) -> tuple[torch.Tensor, dict[str, float]]:
    """Caption InfoNCE, soft targets of prompt pairs, and ranking of the two levels of a crop."""
    pixels, captions, harms = batch
    rng = np.random.default_rng([config.seed, 77, step])
    pairs, aspects = [], []
    for index, aspect in enumerate(FIVE_ASPECTS):
        if rng.random() < 0.4:
            pairs.append(FIVE_PAIRS[index])
            aspects.append(aspect)
    while len(pairs) < config.prompt_pairs:
        aspect = str(rng.choice(list(ASPECT_CHANCES), p=list(ASPECT_CHANCES.values())))
        pairs.append(prompt_pair(aspect, rng))
        aspects.append(aspect)
    texts = captions + [p for pair in pairs for p in pair]
    image = F.normalize(model.encode_image(normalize(pixels)), dim=-1)
    text = F.normalize(model.encode_text(tokenizer(texts)), dim=-1)
    scale = model.logit_scale.exp()
    of_caption, of_prompt = text[: len(captions)], text[len(captions) :].view(-1, 2, text.shape[-1])

    logits = scale * image @ of_caption.T
    same = torch.tensor([[a == b for b in captions] for a in captions], dtype=torch.float32)
    target = same / same.sum(1, keepdim=True)
    by_caption = -(target * (logits.log_softmax(1) + logits.T.log_softmax(1))).sum(1).mean() / 2

    overall = [1 - math.prod(1 - 0.9 * v for v in h.values()) for h in harms]
    harm = torch.tensor(
        [
            [o if a == "overall" else h.get(a, 0.0) for a in aspects]
            for h, o in zip(harms, overall, strict=True)
        ]
    )
    margin = scale * torch.einsum("bd,pd->bp", image, of_prompt[:, 0] - of_prompt[:, 1])
    by_prompt = F.binary_cross_entropy_with_logits(margin, 0.97 - 0.94 * harm)
    gap = harm[1::2] - harm[::2]
    clear = (gap > 0.04).float()
    rank = (F.softplus(1.0 * gap - (margin[::2] - margin[1::2])) * clear).sum() / clear.sum().clamp(min=1)
    total = config.weight_caption * by_caption + config.weight_prompt * by_prompt + config.weight_rank * rank
    return total, {"caption": by_caption.item(), "prompt": by_prompt.item(), "rank": rank.item()}


# --- choosing, on held-out wallpapers ---------------------------------------------------------------------------------


def validation_set(
    crops: np.memmap, rows: list[dict[str, Any]]
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """224-pixel crops of held-out wallpapers at level 0..5 of each seen type: pixels, group of ranking, level."""
    chosen: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row["held_out"]:
            chosen.setdefault(row["file"], index)
    pixels, groups, levels = [], [], []
    for number, index in enumerate(chosen.values()):
        crop = np.ascontiguousarray(crops[index][16:240, 16:240])
        for kind, name in enumerate(SEEN):
            for level in (0, *LEVELS):
                pixels.append(torch.from_numpy(distort(crop, name, level, number).copy() if level else crop))
                groups.append(number * len(SEEN) + kind)
                levels.append(level)
    return torch.stack(pixels), np.array(groups), np.array(levels)


@torch.no_grad()
def validate(
    model: Any, tokenizer: Any, data: tuple[torch.Tensor, np.ndarray, np.ndarray]
) -> dict[str, float]:
    """SRCC of the five pairs' mean softmax with the level, mean over (picture, type); and over all as one."""
    model.eval()
    pixels, groups, levels = data
    text = F.normalize(model.encode_text(tokenizer([p for pair in FIVE_PAIRS for p in pair])), dim=-1).view(
        5, 2, -1
    )
    scores = []
    for part in pixels.split(64):
        image = F.normalize(model.encode_image(normalize(part)), dim=-1)
        margin = model.logit_scale.exp() * torch.einsum("bd,pd->bp", image, text[:, 0] - text[:, 1])
        scores.append(margin.sigmoid().mean(1))
    score = torch.cat(scores).numpy()
    within = [-stats.spearmanr(score[groups == g], levels[groups == g]).statistic for g in np.unique(groups)]
    by_type = {
        name: float(np.mean(np.nan_to_num(within)[np.unique(groups) % len(SEEN) == kind]))
        for kind, name in enumerate(SEEN)
    }
    model.train()
    pooled = -float(stats.spearmanr(score, levels).statistic)
    return {"within": float(np.mean(np.nan_to_num(within))), "pooled": pooled, **by_type}


def export(state: dict[str, torch.Tensor], out: Path, grid: int, meta: dict[str, str]) -> None:
    """Half precision, open_clip's names and shapes; the unused positional embedding as zeros."""
    from safetensors.torch import save_file

    half = {k: v.half().contiguous() if v.is_floating_point() else v.contiguous() for k, v in state.items()}
    name = "visual.attnpool.positional_embedding"
    half[name] = torch.zeros(grid * grid + 1, state[name].shape[1], dtype=torch.float16)
    # not in open_clip's state dict of a model made by its factory: a constant mask
    half.pop("attn_mask", None)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(half, out, metadata=meta)


def optimizer_of(model: Any, config: Config) -> tuple[Any, Any]:
    """AdamW and its schedule: constant up to ``cool_from``, then down in a straight line."""
    decay = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    rest = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    cool = config.steps * config.cool_from
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda s: min(1.0, (s + 1) / config.warmup, 1.02 - (s - cool) / (config.steps - cool)),
    )
    return optimizer, schedule


@torch.no_grad()
def average(ema: dict[str, torch.Tensor], model: Any, rate: float) -> None:
    """Move the averaged weights towards the model's."""
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            ema[name].lerp_(value, 1 - rate)
        else:
            ema[name].copy_(value)


def write_log(
    out: Path, config: Config, rows: list[dict[str, Any]], best: dict[str, Any], history: list[Any]
) -> None:
    """Write what the weights were trained on, held-out wallpapers and the course of the training."""
    held = sorted({r["file"] for r in rows if r["held_out"]})
    log = {
        "config": asdict(config),
        "trained_on": sorted({r["file"] for r in rows} - set(held)),
        "held_out": held,
        "chosen": {k: v for k, v in best.items() if k != "state"},
        "history": history,
    }
    out.with_name("training.json").write_text(json.dumps(log, indent=1) + "\n")
    print(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB, step {best['step']}, held-out SRCC {best['within']:.3f}"
    )


def train(config: Config, work: Path, out: Path) -> None:
    import open_clip

    torch.set_num_threads(config.threads)
    crops, rows = cut_crops(pictures(fetch(work)), work, config)
    print(f"{len(rows)} crops of {len({r['file'] for r in rows})} pictures", flush=True)
    checked = validation_set(crops, rows)
    model, shadow = new_model(config), new_model(config)
    # words only: a bare tokenizer keeps the fetch of any published config out of the way
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=24)
    optimizer, schedule = optimizer_of(model, config)
    ema = {k: v.clone() for k, v in model.state_dict().items()}
    key = hashlib.sha256(json.dumps(asdict(config)).encode()).hexdigest()[:12]
    history: list[dict[str, Any]] = []
    best: dict[str, Any] = {"within": -2.0}
    loader = torch.utils.data.DataLoader(
        Pairs(crops, rows, config), batch_sampler=Batches(config), num_workers=1, collate_fn=collate,
        prefetch_factor=4,
    )  # fmt: skip
    for step, batch in enumerate(tqdm(loader, desc="train")):
        loss, parts = losses(model, tokenizer, batch, step, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.logit_scale.data.clamp_(max=math.log(100.0))
        average(ema, model, min(config.ema, (step + 1) / (step + 10)))
        if (step + 1) % config.check_every == 0 or step + 1 == config.steps:
            shadow.load_state_dict(ema)
            agreement = validate(shadow, tokenizer, checked)
            history.append({"step": step + 1, **parts, **agreement, "scale": model.logit_scale.exp().item()})
            tqdm.write(json.dumps({k: round(v, 4) for k, v in history[-1].items()}), file=sys.stdout)
            if agreement["within"] >= best["within"]:
                best = {**agreement, "step": step + 1, "state": {k: v.clone() for k, v in ema.items()}}
    export(best["state"], out, 7, {"step": str(best["step"]), "config": key})
    write_log(out, config, rows, best, history)


def main() -> None:
    from platformdirs import user_cache_dir

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--work", type=Path, default=Path(user_cache_dir("magiqa", appauthor=False)) / "train_demo"
    )
    parser.add_argument("--out", type=Path, default=DEMO / "demo.safetensors")
    parser.add_argument(
        "--pilot", action="store_true", help="150 steps, to see that all works; write --out elsewhere"
    )
    args = parser.parse_args()
    config = Config(steps=150, warmup=30, check_every=50) if args.pilot else Config()
    train(config, args.work.expanduser().absolute(), args.out)


if __name__ == "__main__":
    main()

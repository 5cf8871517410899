"""CLIP weights in, an image tower and text embeddings out. The only module that knows open_clip.

Traps this module closes (open_clip 3.x): a QuickGELU mismatch is a warning for tags and nothing at all for files
(image features of a ResNet agree, text features do not); OpenAI's TorchScript archives are not read; a positional
embedding is always added. MA-CLIP (arXiv:2511.09948, zhix000/MA-CLIP at 9581a2c) drops the image tower's.
"""

import hashlib
import json
import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

POSITIONAL = ("drop", "native", "interpolate")
DEMO = Path(__file__).parent / "demo"
DEMO_LABEL = "demo, trained on synthetic degradations"
_NOT_WEIGHTS = (
    "input_resolution",
    "context_length",
    "vocab_size",
)  # in OpenAI's archives, beside the weights

_POSITION_IDS = "text.transformer.embeddings.position_ids"


@dataclass(frozen=True)
class Backbone:
    """Which CLIP, with which weights. Cheap: nothing is loaded before ``load_weights``.

    Args:
        name: open_clip architecture without ``-quickgelu``, ``hf-hub:org/repo``, ``local-dir:FOLDER``, or ``demo``.
        pretrained: open_clip tag of published weights. With a checkpoint it only says what the file holds (its
            activation, mean and std); unused with ``untrained`` or a schema name.
        checkpoint: weights on disk: OpenAI's TorchScript archive, a state dict (``.pt``) or safetensors.
        quickgelu: the activation the weights were trained with. None: as the archive, tag or config says; a
            checkpoint that nothing is known of is refused where the architecture exists with both.
        positional_embedding: of the image tower: ``drop`` (MA-CLIP), ``native``, or ``interpolate`` to the view.
        untrained: seed of random weights, as a control.
        label: what these weights are where they are not published ones; shown with every number.
    """

    name: str
    pretrained: str | None = None
    checkpoint: str | None = None
    quickgelu: bool | None = None
    positional_embedding: str = "drop"
    untrained: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.positional_embedding not in POSITIONAL:
            raise UserError(
                f"backbone.positional_embedding={self.positional_embedding} is not known: use {', '.join(POSITIONAL)}"
            )
        if self.quickgelu not in (None, True, False):
            raise UserError(f"backbone.quickgelu={self.quickgelu} must be true, false or null")
        seed = self.untrained
        if seed is not None and (
            isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63
        ):
            raise UserError(f"backbone.untrained={seed} must be a seed: a whole number from 0 on")
        if self.checkpoint is not None and self.untrained is not None:
            raise UserError("backbone.checkpoint and backbone.untrained exclude each other: drop one of them")
        if self.name.endswith("-quickgelu"):
            raise UserError(
                f"backbone.name={self.name}: write {self.name.removesuffix('-quickgelu')} and backbone.quickgelu=true"
            )

    @property
    def located(self) -> str:
        """The name as open_clip takes it: a local folder's ``~`` expanded."""
        folder = self.name.removeprefix("local-dir:")
        return self.name if folder == self.name else f"local-dir:{Path(folder).expanduser()}"

    @property
    def kind(self) -> str:
        """``untrained``, ``given`` (a checkpoint), ``demo`` or ``published`` (a tag, hub or local folder)."""
        if self.untrained is not None:
            return "untrained"
        if self.checkpoint is not None:
            return "given"
        return "demo" if self.name == "demo" else "published"

    @property
    def shown_label(self) -> str | None:
        """The label that must stand beside every number from these weights; None for published or given ones."""
        if self.kind == "untrained":
            return f"untrained, seed {self.untrained}"
        given = "demo architecture, weights given" if self.kind == "given" else DEMO_LABEL
        return self.label or (given if self.name == "demo" else None)


@dataclass(frozen=True)
class Weights:
    """A checked state dict and what identifies it.

    Args:
        state: name -> tensor, in the architecture's own names. sha256: of the tensors as float32 with their names.
        config: open_clip's architecture, ``quick_gelu`` decided. mean, std: of the pixels.
        source: where the tensors came from, in words.
    """

    state: "dict[str, torch.Tensor]"
    sha256: str
    config: dict[str, Any]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str

    @property
    def quickgelu(self) -> bool:
        """Whether the towers use QuickGELU."""
        return bool(self.config.get("quick_gelu", False))


@contextmanager
def _quiet() -> Iterator[None]:
    # open_clip logs on the root logger that no weights were asked for; magiqa loads them itself.
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def _open_clip() -> Any:
    import open_clip

    if "demo" not in open_clip.list_models() and (DEMO / "demo.json").is_file():
        open_clip.add_model_config(DEMO)
    return open_clip


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
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as opened:
                archive = any(name.endswith("/constants.pkl") for name in opened.namelist())
        if archive:
            loaded: Any = torch.jit.load(str(file), map_location="cpu").state_dict()
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
    return state, archive


def _shipped_config(name: str) -> dict[str, Any] | None:
    """The demo's config, or one of open_clip's, read from its file: importing open_clip takes seconds."""
    package = find_spec("open_clip")
    shipped = Path(package.origin).parent / "model_configs" if package and package.origin else DEMO
    file = (DEMO if name == "demo" else shipped) / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def _architecture(spec: Backbone) -> tuple[dict[str, Any], dict[str, Any]]:
    """open_clip's model config and preprocessing of a name or schema."""
    name = spec.located
    schema = name.partition(":")[0]
    try:
        config = _shipped_config(name) if schema == name else None
        if config is None:
            with _quiet():
                config = _open_clip().get_model_config(name)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"backbone.name={spec.name}: its config cannot be had ({reason}); check the name, or the folder's "
            "open_clip_config.json, or fill the hub cache where there is a network"
        ) from None
    if config is None:
        raise UserError(
            f"backbone.name={spec.name}: open_clip knows no such architecture; "
            "see open_clip.list_models(), or use hf-hub:org/repo or local-dir:FOLDER"
        )
    preprocess: dict[str, Any] = {}
    if schema == "local-dir":
        file = Path(name.removeprefix("local-dir:")) / "open_clip_config.json"
        preprocess = json.loads(file.read_text()).get("preprocess_cfg", {})
    elif schema == "hf-hub":
        hub = _open_clip().factory._get_hf_config(name.removeprefix("hf-hub:"))
        preprocess = hub.get("preprocess_cfg", {})
    return config, preprocess


def _published(spec: Backbone) -> tuple[Path, dict[str, Any]]:
    """Path and pretrained config of published weights: package data, local folder, hub cache or download."""
    if spec.name == "demo":
        return DEMO / "demo.safetensors", {}
    open_clip = _open_clip()
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
            return Path(open_clip.pretrained.download_pretrained_from_hf(model_id)), {}
        if not spec.pretrained:
            raise UserError(
                f"backbone.pretrained is not set for backbone.name={spec.name}: give an open_clip tag, "
                "backbone.checkpoint=FILE, or backbone.untrained=SEED"
            )
        config = _tag(spec)
        if config:
            return Path(open_clip.pretrained.download_pretrained(config)), config
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
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
    find = _open_clip().pretrained.get_pretrained_cfg
    return find(spec.name, spec.pretrained) or find(f"{spec.name}-quickgelu", spec.pretrained) or {}


def _decide_quickgelu(spec: Backbone, config: dict[str, Any], tag: dict[str, Any], archive: bool) -> bool:
    """The activation the weights were trained with; an error where the config says otherwise, or nothing does."""
    given = spec.quickgelu
    known = None
    if archive:
        known = (True, "OpenAI's archives were trained with QuickGELU")
    elif spec.kind in ("published", "demo"):
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
    if spec.checkpoint is not None and f"{spec.name}-quickgelu" in _open_clip().list_models():
        raise UserError(
            f"backbone.checkpoint={spec.checkpoint}: the file does not say which activation its weights were trained "
            f"with, and {spec.name} exists with both; set backbone.quickgelu=true (as OpenAI's) or false (as most of "
            "open_clip's)"
        )
    return bool(config.get("quick_gelu", False))


def _new_model(spec: Backbone, config: dict[str, Any], seed: int = 0) -> "torch.nn.Module":
    """A model with random weights of that seed; the caller's random numbers stay as they were."""
    import torch

    options = {"load_weights": False, "pretrained_text": False, "quick_gelu": bool(config.get("quick_gelu"))}
    try:
        with _quiet(), torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            return _open_clip().create_model(spec.located, **options).eval()
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"backbone.name={spec.name}: open_clip cannot build this architecture ({reason}); check its config, or "
            "install what it asks for"
        ) from None


def load_weights(spec: Backbone) -> Weights:
    """Find, read and identify a backbone's weights.

    Raises:
        UserError: unknown name or tag, unreadable file, QuickGELU mismatch.
    """
    config, preprocess = _architecture(spec)
    tag: dict[str, Any] = {}
    archive = False
    if spec.untrained is not None:
        config["quick_gelu"] = _decide_quickgelu(spec, config, tag, archive)
        state = _new_model(spec, config, spec.untrained).state_dict()
        source = f"random weights, seed {spec.untrained}"
    else:
        if spec.checkpoint is not None:
            path, tag = Path(spec.checkpoint), _tag(spec)
        else:
            path, tag = _published(spec)
        preprocess = {**preprocess, **tag}
        state, archive = read_checkpoint(path)
        config["quick_gelu"] = _decide_quickgelu(spec, config, tag, archive)
        source = path.name if spec.checkpoint is None else str(path)
    mean = tuple(preprocess.get("mean") or (0.48145466, 0.4578275, 0.40821073))
    std = tuple(preprocess.get("std") or (0.26862954, 0.26130258, 0.27577711))
    return Weights(state, fingerprint(state), config, mean, std, source)


def _check(state: "dict[str, torch.Tensor]", own: "dict[str, torch.Tensor]", where: str) -> None:
    def some(names: Sequence[str]) -> str:
        return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    shapes = [n for n in state if n in own and state[n].shape != own[n].shape]
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in own]
    problems = []
    if shapes:
        first = sorted(shapes)[0]
        problems.append(
            f"shape of {first} is {tuple(state[first].shape)}, not {tuple(own[first].shape)}"
            + (f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else "")
        )
    if missing:
        problems.append(f"missing {some(missing)}")
    if unexpected:
        problems.append(f"unexpected {some(unexpected)}")
    if problems:
        raise UserError(f"{where}: the weights are not of this architecture: {'; '.join(problems)}")
    bad = next((n for n, t in state.items() if t.is_floating_point() and not bool(t.isfinite().all())), None)
    if bad is not None:
        raise UserError(f"{where}: tensor {bad} holds NaN or infinity; fetch the file again")


def build_model(spec: Backbone, weights: Weights) -> "torch.nn.Module":
    """The open_clip model with these weights, float32, on the CPU, positional embedding as the spec says.

    Raises:
        UserError: a missing or unexpected tensor or a wrong shape, by name; an image tower without the positional
            embedding that ``drop`` or ``interpolate`` is to change.
    """
    model = _new_model(spec, weights.config)
    own = model.state_dict()
    state = dict(weights.state)
    if _POSITION_IDS not in own:  # a constant that older transformers saved
        state.pop(_POSITION_IDS, None)
    _check(state, own, f"backbone.name={spec.name} from {weights.source}")
    for name in own:  # files may lack the batch norms' counters, which inference never reads
        state.setdefault(name, own[name])
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    model.requires_grad_(False)
    if spec.positional_embedding == "drop":
        _drop_positional_embedding(model, spec)
    return model


def _positional_owner(model: "torch.nn.Module", spec: Backbone) -> Any:
    visual: Any = model.visual
    owner: Any = getattr(visual, "attnpool", visual)
    if not hasattr(owner, "positional_embedding"):
        raise UserError(
            f"backbone.positional_embedding={spec.positional_embedding}: the image tower of {spec.name} is not one of "
            "open_clip's own ResNets or ViTs; use backbone.positional_embedding=native"
        )
    return owner


def _drop_positional_embedding(model: "torch.nn.Module", spec: Backbone) -> None:
    import torch

    owner = _positional_owner(model, spec)
    width = owner.positional_embedding.shape[-1]
    # Adding (1, C) zeros drops it exactly and, by broadcasting, lets any image size through.
    owner.positional_embedding = torch.nn.Parameter(torch.zeros(1, width), requires_grad=False)


def fit_positional_embedding(model: "torch.nn.Module", spec: Backbone, size: tuple[int, int]) -> None:
    """Make the image tower accept views of (H, W) pixels.

    To be called once for a model. ``drop`` takes any size, ``interpolate`` resizes the grid (bicubic, antialiased,
    as open_clip does for checkpoints), ``native`` refuses what the weights were not trained for.

    Raises:
        UserError: ``native`` and another size; a size under the tower's stride.
    """
    import torch

    visual: Any = model.visual
    stride = 32 if hasattr(visual, "attnpool") else getattr(visual, "patch_size", (1,))[0]
    if min(size) < stride:
        raise UserError(
            f"views.window={min(size)} is under the {stride} pixels that {spec.name} reads as one; "
            f"use views.window={stride} at least"
        )
    if spec.positional_embedding == "drop":
        return
    native = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
    if tuple(size) == tuple(native):
        return
    if spec.positional_embedding == "native":
        raise UserError(
            f"backbone.positional_embedding=native: {spec.name} takes {native[0]}x{native[1]} views, not "
            f"{size[0]}x{size[1]}; use drop or interpolate, or views.window={native[0]}"
        )
    owner = _positional_owner(model, spec)
    old = owner.positional_embedding.data
    grid = (native[0] // stride, native[1] // stride)
    new = (size[0] // stride, size[1] // stride)
    image = old[1:].T.reshape(1, -1, *grid)
    image = torch.nn.functional.interpolate(image, new, mode="bicubic", antialias=True, align_corners=False)
    resized = torch.cat([old[:1], image.reshape(old.shape[1], -1).T])
    owner.positional_embedding = torch.nn.Parameter(resized, requires_grad=False)


def encode_text(
    model: "torch.nn.Module", spec: Backbone, pairs: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, float]:
    """Embeddings of prompt pairs, encoded in float32 once for a backbone and prompt set.

    By one thread, so that they are the same bits on a laptop and a node: torch splits sums by its number of threads.

    Returns:
        float32 (P, 2, D) of unit length, and the logit scale (exponentiated).

    Raises:
        UserError: the tokenizer cannot be had, or a text is longer than the text tower's context.
    """
    import torch

    clip: Any = model
    texts = [text for pair in pairs for text in pair]
    with _quiet(), torch.inference_mode():
        try:
            tokenizer = _open_clip().get_tokenizer(spec.located)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise UserError(
                f"backbone.name={spec.name}: its tokenizer cannot be had ({reason}); install what it asks for, or "
                "fill the hub cache where there is a network"
            ) from None
        tokens = tokenizer(texts)
        if hasattr(tokenizer, "encode"):  # open_clip's own would cut a long text without a word
            room = tokens.shape[1] - 2
            for words in texts:
                if len(tokenizer.encode(words)) > room:
                    raise UserError(
                        f"prompts.pairs: the text {words[:40]!r}... is longer than the {room} tokens that "
                        f"{spec.name} reads; shorten it"
                    )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            text = torch.nn.functional.normalize(clip.encode_text(tokens).float(), dim=-1)
        finally:
            torch.set_num_threads(threads)
        return text.reshape(len(pairs), 2, -1).numpy(), float(clip.logit_scale.exp())

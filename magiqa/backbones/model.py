"""Weights in, an open_clip model out, with the positional embedding that the config asks for."""

from typing import TYPE_CHECKING, Any, cast

from magiqa.backbones.library import new_model
from magiqa.backbones.spec import Backbone
from magiqa.backbones.weights import POSITIONAL, Weights
from magiqa.errors import UserError

if TYPE_CHECKING:
    import torch

_POSITION_IDS = "text.transformer.embeddings.position_ids"


def build_model(spec: Backbone, weights: Weights) -> "torch.nn.Module":
    """Return the open_clip model with these weights, float32, on the CPU, with the spec's positional embedding.

    Raises:
        UserError: a missing or unexpected tensor or a wrong shape, by name; an image tower without the positional
            embedding that ``drop`` or ``interpolate`` is to change.
    """
    model = new_model(spec, weights.config)
    own = model.state_dict()
    state = dict(weights.state)
    if _POSITION_IDS not in own:  # a constant that older transformers saved
        state.pop(_POSITION_IDS, None)
    _fit_grid(state, own)
    for name in own:  # files may lack the batch norms' counters, which inference never reads
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, own[name])
    where = f"backbone.name={spec.name} from {weights.source}"
    try:
        model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).partition("\n")[2].split())[:300]
        raise UserError(f"{where}: the weights are not of this architecture: {reason}") from None
    damaged = [n for n, t in state.items() if t.is_floating_point() and not bool(t.float().isfinite().all())]
    if damaged:
        raise UserError(f"{where}: tensor {damaged[0]} holds NaN or infinity; fetch the file again")
    model.requires_grad_(False)
    if spec.positional_embedding == "drop" and _embeds_positions(model):
        _drop_positional_embedding(model, spec)
    return model


def _embeds_positions(model: "torch.nn.Module") -> bool:
    """Return whether the image tower has a positional embedding; FastViT, in MobileCLIP, has none."""
    visual: Any = model.visual
    return any("pos_embed" in name or "position" in name for name, _ in visual.named_parameters())


def _owner(model: "torch.nn.Module") -> Any:
    visual: Any = model.visual
    return getattr(visual, "attnpool", visual)


def _positional_owner(model: "torch.nn.Module", spec: Backbone) -> Any:
    owner, visual = _owner(model), cast(Any, model.visual)
    if not hasattr(owner, "positional_embedding"):
        side = visual.image_size[0] if isinstance(visual.image_size, tuple) else visual.image_size
        raise UserError(
            f"backbone.positional_embedding={spec.positional_embedding}: the image tower of {spec.name} is not one of "
            f"open_clip's own ResNets or ViTs; use backbone.positional_embedding=native and views.window={side}"
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

    To be called once for a model. ``drop`` and ``interpolate_tokens`` take images of any size from then on,
    ``interpolate`` this size alone; ``native`` refuses what the weights were not trained for.

    Raises:
        UserError: ``native`` and another size; a size under the tower's stride.
    """
    import torch

    from magiqa.backbones.positions import resize_grid, take_any_size

    visual: Any = model.visual
    stride = 32 if hasattr(visual, "attnpool") else getattr(visual, "patch_size", (1,))[0]
    if min(size) < stride:
        raise UserError(
            f"views.window={min(size)} is under the {stride} pixels that {spec.name} reads as one; "
            f"use views.window={stride} at least"
        )
    if spec.positional_embedding == "drop" or not _embeds_positions(model):
        return
    native = visual.image_size if isinstance(visual.image_size, tuple) else (visual.image_size,) * 2
    if spec.positional_embedding == "interpolate_tokens":
        _positional_owner(model, spec)
        take_any_size(visual)
        return
    if tuple(size) == tuple(native):
        return
    if spec.positional_embedding == "native":
        changes = "drop or interpolate, or " if hasattr(_owner(model), "positional_embedding") else ""
        raise UserError(
            f"backbone.positional_embedding=native: {spec.name} takes {native[0]}x{native[1]} views, not "
            f"{size[0]}x{size[1]}; use {changes}views.window={native[0]}"
        )
    owner = _positional_owner(model, spec)
    grid, new = (tuple(_tokens(visual, pixels) for pixels in sides) for sides in (native, size))
    resized = resize_grid(owner.positional_embedding.data, grid, new)
    owner.positional_embedding = torch.nn.Parameter(resized, requires_grad=False)


def _tokens(visual: Any, pixels: int) -> int:
    """Return the tokens along a side. A ResNet's first convolution rounds up, its four poolings round down."""
    return (pixels + 1) // 2 // 16 if hasattr(visual, "attnpool") else pixels // visual.patch_size[0]


def _fit_grid(state: "dict[str, torch.Tensor]", own: "dict[str, torch.Tensor]") -> None:
    """Resize the image tower's positional embedding where the weights have another square grid than the config."""
    from magiqa.backbones.positions import resize_grid

    for name in POSITIONAL:
        if name in state and name in own and state[name].shape[0] != own[name].shape[0]:
            old, new = (round((len(tensor) - 1) ** 0.5) for tensor in (state[name], own[name]))
            if old * old + 1 == len(state[name]) and state[name].shape[1:] == own[name].shape[1:]:
                state[name] = resize_grid(state[name].float(), (old, old), (new, new))

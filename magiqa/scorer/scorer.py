"""Images in, scores out: MA-CLIP and its relatives for any program, by the harness's own path."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from magiqa.config.compose import Configs
from magiqa.errors import UserError
from magiqa.images.views import Resize, Views
from magiqa.method.pooling import over_image
from magiqa.method.prompts import PromptSet
from magiqa.runs.config import RunConfig
from magiqa.scorer.inputs import items
from magiqa.scorer.session import Scored, Session

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from magiqa.backbones.spec import Backbone
    from magiqa.runs.config import Fusion, Magnitude

    Images = str | PathLike[str] | Image.Image | np.ndarray | torch.Tensor | Sequence[Any]


class Scorer(Session):
    """A scorer of images without a reference: MA-CLIP, or any method that ``conf/`` or its objects describe.

    The model is made at the first call and kept. A score depends on its image alone: on no other image of the call,
    nor on how many there are. Calls may come from several threads. While one is under way, torch computes float32
    without TF32 in the whole process; afterwards its settings are what they were. Nothing is written but into
    ``cache_dir``.

    Args:
        backbone: the name of an option in ``conf/backbone``, or a `Backbone`.
        prompts, views, magnitude, fusion: names of options, or config objects; ``prompts`` also as a list of
            (positive, negative) pairs.
        resize: what a data set's protocol does to an image before views are cut from it.
        cache_dir: a folder that keeps features, the one of `magiqa evaluate` too. None: nothing is written.
        settings: ``pooling``, ``engine``, ``precision``, ``device``, ``batch_size``, ``workers``, ``max_pixels``,
            ``max_whole_pixels``, as in ``conf/config.yaml``.

    Raises:
        UserError: an option or setting that does not exist, with what does.

    Example:
        >>> import numpy as np
        >>> scorer = Scorer("demo")
        >>> rng = np.random.default_rng(0)
        >>> photo = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((32, 32, 1))).astype(np.uint8)
        >>> noise = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
        >>> q = scorer([photo, noise])
        >>> q.shape, bool(q[0] > q[1])
        ((2,), True)
    """

    def __init__(
        self,
        backbone: "str | Backbone",
        *,
        prompts: "str | PromptSet | Sequence[tuple[str, str]]" = "maclip",
        views: str | Views = "maclip",
        magnitude: "str | Magnitude" = "boxcox",
        fusion: "str | Fusion" = "adaptive",
        resize: Resize | None = None,
        cache_dir: str | PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(prompts, str | PromptSet):
            prompts = PromptSet("own", tuple(prompts))
        parts = {
            "backbone": backbone,
            "prompts": prompts,
            "views": views,
            "magnitude": magnitude,
            "fusion": fusion,
        }
        names = (
            *("pooling", "engine", "precision", "device", "batch_size", "workers"),
            *("max_pixels", "max_whole_pixels", "alpha", "orientation"),
        )
        if unknown := [key for key in settings if key not in names]:
            raise UserError(f"{unknown[0]}: Scorer has no such setting; it has {', '.join((*parts, *names))}")
        job = _job([f"{key}={value}" for key, value in parts.items() if isinstance(value, str)])
        objects: dict[str, Any] = {key: value for key, value in parts.items() if not isinstance(value, str)}
        named = {key: str(getattr(value, "name", None) or repr(value)) for key, value in objects.items()}
        job = job.having(**objects, **settings, choices=job.choices | named)
        super().__init__(job, resize, cache_dir)

    @classmethod
    def compose(
        cls, *overrides: str, cache_dir: str | PathLike[str] | None = None, config_dir: str | None = None
    ) -> "Scorer":
        """Compose a scorer from overrides as the command line takes them, such as ``"fusion.alpha=2"``.

        A data set among them (``dataset=spaq``) gives its resize and nothing else.

        Args:
            overrides: of `magiqa evaluate`. cache_dir: as in `Scorer`. config_dir: a folder of configs of yours.

        Example:
            >>> Scorer.compose("backbone=demo", "fusion.alpha=2").job.method.fusion.alpha
            2.0
        """
        return cls.of(_job(list(overrides), config_dir), cache_dir=cache_dir)

    @classmethod
    def of(cls, job: RunConfig, *, cache_dir: str | PathLike[str] | None = None) -> "Scorer":
        """Make the scorer of a run's config: its method, its data set's resize, its engine."""
        return cls._restored(job, getattr(job.source.dataset, "resize", None), cache_dir)

    @classmethod
    def _restored(
        cls, job: RunConfig, resize: Resize | None, cache_dir: str | PathLike[str] | None
    ) -> "Scorer":
        scorer = cls.__new__(cls)
        Session.__init__(scorer, job, resize, cache_dir)
        return scorer

    def __reduce__(self) -> tuple[Callable[..., "Scorer"], tuple[Any, ...]]:
        return self._restored, (self.job, self.resize, self.cache_dir)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Scorer":
        return self  # nothing in it changes what it gives: copies may share the model

    def __repr__(self) -> str:
        m = self.job.method
        return f"Scorer({m.backbone}, {m.prompts}, {m.views}, {m.magnitude}, {m.fusion})"

    def __call__(self, images: "Images") -> np.ndarray:
        """Score images.

        Args:
            images: a path, a Pillow image, a uint8 array (H, W, 3), a list of these, of mixed sizes, or a float tensor
                (N, 3, H, W) in [0, 1].

        Returns:
            q (N,), float64, higher = better.

        Raises:
            UserError: an image that cannot be scored, by its name or position, with what to do.

        Note:
            A tensor of n / 255 gives what the file gives, to the bit, unless the image is resized before views are cut
            (``resize``, ``views.small=upscale``, ``views=clip``): Pillow rounds resized files to 8 bits, tensors keep
            their fractions. No gradient flows.
        """
        return self.cues(images)["q"].to_numpy(copy=True)

    def cues(self, images: "Images") -> pd.DataFrame:
        """Return the cues of images.

        Returns:
            A row an image: image (its path or position), q, q_sim, q_mag, w_sim, and a column a prompt pair, by its
            positive text, with the pair's own similarity in [0, 1]; all pooled over its views.
        """
        return self.score(items(images)).cues

    def views(self, images: "Images") -> pd.DataFrame:
        """Return the scores of each view.

        Returns:
            A row a view: image, view, kind, left, top, right, bottom (in the image's own pixels), then as `cues`.
        """
        scored = self.score(items(images))
        table = scored.views.drop(columns="position")
        table.insert(0, "image", scored.cues["image"].iloc[scored.views["position"]].reset_index(drop=True))
        return table

    def heatmap(
        self, images: "Images", window: int | None = None, stride: int | None = None
    ) -> list[dict[str, np.ndarray]]:
        """Return maps of q and of each cue over each image, which show where in it the score is high.

        Every window has a score of its own; where windows overlap, scores are blended. A window that holds both a good
        and a bad part says little of either, so a map's windows are smaller than the score's: a map shows where, and
        its mean is not the image's score.

        Args:
            window: side of a window in pixels; default: half of the views' own, or the views' own where
                ``backbone.positional_embedding=native`` allows no other. stride: between windows: how fine; default:
                half a window. The last windows of a row and column lie flush with the edge.

        Returns:
            For each image its maps by name (q, q_sim, q_mag, w_sim, and each pair's), float32 (H, W) of its size.
        """
        views = self.map_views(window, stride)
        scored = self.score(items(images), views)
        return [self.map(scored, i, views) for i in range(len(scored.sizes))]

    def map_views(self, window: int | None = None, stride: int | None = None) -> Views:
        """Return the windows of a map, as `heatmap` describes them."""
        own = self.job.method.views.window
        native = self.job.method.backbone.positional_embedding == "native"
        side = window if window is not None else own if native else max(1, own // 2)
        step = stride if stride is not None else max(1, side // 2)
        return replace(self.job.method.views, kinds=("windows",), window=side, stride=step, cover=True)

    def map(self, scored: Scored, position: int, views: Views) -> dict[str, np.ndarray]:
        """Return the maps of one image from the scores of its windows."""
        windows = scored.views[scored.views["position"] == position]
        boxes = windows[["left", "top", "right", "bottom"]].to_numpy()
        return {
            name: over_image(windows[name].to_numpy(), boxes, views.window, scored.sizes[position])
            for name in scored.cues.columns[1:]
        }


def _job(overrides: list[str], config_dir: str | None = None) -> RunConfig:
    """Compose a run's config; of its data set the resize alone is used, so that no folder needs to be named."""
    return Configs(config_dir).job(["dataset.root=.", *overrides])

"""Prompt sets: groups of texts with levels, and the numbers that they give a view.

A pair (positive, negative) is a group of two texts with levels 1 and 0. A group's number is the sum of its levels, each
times the softmax of its text's logit, scale times cosine. LIQE (Zhang et al., arXiv:2303.14968) is one group of 495
texts with levels 1 to 5, UniQA (Zhou et al., arXiv:2406.01069) four groups of five texts.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from scipy.special import softmax

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.method.cues import cosines, similarity

_MOST = 10_000  # texts of a group

_LONGEST = 100_000  # letters of a text, times those of a word in it


@dataclass(frozen=True)
class Group:
    """Texts of one question, each with the level that it stands for."""

    texts: tuple[str, ...]
    levels: tuple[float, ...]

    @classmethod
    def of(cls, value: Any, key: str) -> "Group":
        """Read a group as a config has it.

        ``{texts: [...], levels: [...]}``, or ``{text: "a {scene} of {grade} quality", grade: [...], scene: [...],
        levels: [...]}``: every combination of the words. Levels are those of the last word in the text, which varies
        slowest.

        Raises:
            UserError: texts or levels are missing, or differ in number.
        """
        if isinstance(value, cls):
            return value
        words = dict(value) if isinstance(value, Mapping) else {}
        try:
            levels = [float(level) for level in words.pop("levels")]
            text = words.pop("text", "{texts}")
            longest = len(text) * max(len(str(word)) for values in words.values() for word in values)
            if math.prod(map(len, words.values())) > _MOST or longest > _LONGEST:
                raise ValueError
            pieces = re.split("{(.*?)}", text)  # each second one names a word
            names = [pieces[-2], *dict.fromkeys(name for name in pieces[1:-2:2] if name != pieces[-2])]
            combinations = [dict(zip(names, c, strict=True)) for c in product(*(words.pop(n) for n in names))]
            if words:
                raise ValueError
            filled = [[str(c[p]) if k % 2 else p for k, p in enumerate(pieces)] for c in combinations]
            texts = ["".join(parts) for parts in filled]
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            texts, levels = [], []
        each = len(texts) // max(1, len(levels))
        if len(set(levels)) < 2 or each * len(levels) != len(texts):
            raise UserError(
                f"{key} must hold two to {_MOST} texts and a level for each, such as "
                "{texts: [bad image, good image], levels: [0, 1]}"
            )
        return cls(tuple(texts), tuple(level for level in levels for _ in range(each)))

    @property
    def name(self) -> str:
        """The text of the highest level."""
        return self.texts[int(np.argmax(self.levels))]

    @property
    def lowest(self) -> str:
        """The text of the lowest level."""
        return self.texts[int(np.argmin(self.levels))]


@dataclass(frozen=True)
class PromptSet(Checked, key="prompts"):
    """Texts that describe quality, and how they become one number, with the paper they come from.

    Args:
        pairs: (positive, negative). groups: more texts with levels (see `Group.of`).
        pool: ``mean`` of the groups' numbers, or nested lists of ``mean`` and ``min`` over their places, from 1:
            ``[mean, 1, 2, [min, 3, 4]]``.
        scale: factor of the cosine; None: the weights' own logit scale.
        average: over an image's views, ``scores``, or ``logits`` before the softmax (LIQE).
        context: a file of learned context vectors (CoOp, CLIP-IQA+). position: of the class text in them.
        ending: text after context and class text, such as CoOp's full stop.
        features: a file of text features, in the order of the texts, which are then names only (QualiCLIP).

    Raises:
        UserError: no text, a pair that is not two texts, an empty text, or twice the same text in a pair.
    """

    name: str
    pairs: tuple[tuple[str, str], ...] = ()
    source: str = ""
    groups: tuple[Any, ...] = ()
    pool: Any = "mean"
    scale: Annotated[float, Least(0)] | None = None
    average: Literal["scores", "logits"] = "scores"
    context: str | None = None
    position: Literal["end", "middle", "front"] = "end"
    ending: str = ""
    features: str | None = None

    def __post_init__(self) -> None:
        for i, pair in enumerate(self.pairs if isinstance(self.pairs, list | tuple) else ()):
            _check_pair(i, pair)
        super().__post_init__()
        groups = tuple(Group.of(g, f"prompts.groups[{i}]") for i, g in enumerate(self.groups))
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "pool", _nested(self.pool))
        if not self.pairs and not groups:
            raise UserError("prompts.pairs must be a list of [positive, negative] pairs and holds none")
        if not all(text.strip() for text in self.texts):
            raise UserError("prompts: a text is empty; write one, or drop it")
        if self.context and self.features:
            raise UserError("prompts.context and prompts.features exclude each other: drop one of them")
        used = list(_places(self.pool)) if self.pool != "mean" else []
        if used and sorted(used) != list(range(1, len(self.all_groups) + 1)):
            raise UserError(
                f"prompts.pool={self.pool} must name each of the {len(self.all_groups)} groups once, from 1 on"
            )

    @property
    def all_groups(self) -> tuple[Group, ...]:
        """Pairs and groups, in their order."""
        return (*(Group(pair, (1.0, 0.0)) for pair in self.pairs), *self.groups)

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts, group by group."""
        return tuple(text for group in self.all_groups for text in group.texts)

    @property
    def text_names(self) -> tuple[str, ...]:
        """A name for each text feature: the text, with the file that it depends on."""
        file = self.context or self.features
        if not file:
            return self.texts
        where = f"{Path(file).name}, {self.position}, {self.ending}" if self.context else Path(file).name
        return tuple(f"{text} (number {i} of {where})" for i, text in enumerate(self.texts))

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest number that the set can give."""
        low, high = (self.pooled(np.array([[f(g.levels) for g in self.all_groups]]))[0] for f in (min, max))
        return float(low), float(high)

    def logits(self, features: np.ndarray, text: np.ndarray, logit_scale: float) -> np.ndarray:
        """Return scale times cosine: features (V, D), text (T, D) -> (V, T)."""
        return (logit_scale if self.scale is None else self.scale) * cosines(features, text)

    def of_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return each group's number: (V, T) -> (V, G)."""
        ends = np.cumsum([len(group.texts) for group in self.all_groups])
        parts = np.split(logits, ends[:-1], axis=1)
        numbers = [
            softmax(x, axis=1) @ np.array(g.levels) for x, g in zip(parts, self.all_groups, strict=True)
        ]
        return np.stack(numbers, axis=1)

    def scores(self, features: np.ndarray, text: np.ndarray, logit_scale: float) -> np.ndarray:
        """Return each group's number for each view: features (V, D), text (T, D) -> (V, G), higher = better."""
        if not self.groups:
            return similarity(features, text, logit_scale if self.scale is None else self.scale)
        return self.of_logits(self.logits(features, text, logit_scale))

    def pooled(self, numbers: np.ndarray) -> np.ndarray:
        """Return the method's own number from its groups': (V, G) -> (V,)."""
        return numbers.mean(axis=1) if self.pool == "mean" else _pool(self.pool, numbers)

    def share(self, q_sim: np.ndarray) -> np.ndarray:
        """Return the method's number on a scale from 0 to 1, as fusions take it."""
        low, high = self.range
        return q_sim if (low, high) == (0.0, 1.0) else (q_sim - low) / (high - low)


def _check_pair(i: int, pair: Any) -> None:
    texts = list(pair) if isinstance(pair, list | tuple) else []
    if len(texts) != 2 or not all(isinstance(t, str) and t.strip() for t in texts):
        raise UserError(f"prompts.pairs[{i}]={pair!r} must be [positive, negative], two texts")
    if texts[0] == texts[1]:
        raise UserError(
            f"prompts.pairs[{i}]: positive and negative are the same text {texts[0]!r}; write two that differ"
        )


def _nested(pool: Any) -> Any:
    return tuple(map(_nested, pool)) if isinstance(pool, list | tuple) else pool


def _places(pool: Any) -> "Sequence[int]":
    """Return the places that nested lists of ``mean`` and ``min`` name."""
    head, *rest = pool if isinstance(pool, tuple) and pool else [None]
    if head not in ("mean", "min") or not rest:
        raise UserError(f"prompts.pool={pool} must be mean, or a list such as [mean, 1, 2, [min, 3, 4]]")
    return [place for part in rest for place in ([part] if type(part) is int else _places(part))]


def _pool(pool: Any, numbers: np.ndarray) -> np.ndarray:
    head, *rest = pool
    parts = [numbers[:, part - 1] if type(part) is int else _pool(part, numbers) for part in rest]
    return np.stack(parts, axis=1).mean(axis=1) if head == "mean" else np.stack(parts, axis=1).min(axis=1)

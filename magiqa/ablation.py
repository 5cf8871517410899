"""Ablations: variants of a run, evaluated in this process on cached features.

A variant is a mapping of overrides (``{"magnitude.lam": 0.5}``), so an ablation is plain data and nothing is
registered. Variants that share features are computed in one pass over the cache: similarities once a prompt set,
log1p once for all lambdas, whole images at a time, so that no data set ever lies in memory.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from magiqa import __version__
from magiqa.agreement import (
    bootstrap_many,
    bootstrap_srcc_many,
    count_clusters,
    interval,
    point_many,
    resample_counts,
)
from magiqa.comparison import bootstrap_p, halves, holm, resamples_for
from magiqa.cues import BoxCox, similarity, standardise
from magiqa.datasets.base import Labels
from magiqa.engine import threads
from magiqa.errors import UserError
from magiqa.fusion import Adaptive, pool
from magiqa.job import Job
from magiqa.runner import (
    Clock,
    Features,
    make_folder,
    prepare,
    versions,
    write_csv,
    writing,
)

Compose = Callable[[list[str]], Job]
GROUPS = ("backbone", "prompts", "views", "magnitude", "fusion")
TOP = ("pooling", "precision", "engine")
SCORES = ("q", "q_sim", "q_mag")
SPLITS = 10  # random halvings for the optimism of picking the best
_ROWS = 64  # views at a time for many lambdas: 64 x 1,024 float64 stay in a core's own cache


@dataclass(frozen=True)
class Ablation:
    """What varies.

    Args:
        name: for folders and titles.
        axes: key -> values; their product makes the variants. A key is a config group (``magnitude``: names of
            options), one of its fields (``magnitude.lam``), or ``pooling``, ``precision``, ``engine``. Values are a
            list, ``{start, stop, step}`` (both ends included), or for ``prompts.pairs`` the word ``each``: each pair
            of the configured set alone.
        variants: a list of mappings of the same keys, beside or instead of ``axes``; ``name`` names a variant.
        reference: the overrides of the variant that all others are compared with; the run as configured by default.
        score: ``q``, ``q_sim`` or ``q_mag``.
        intervals: false for large grids: SRCC only, with intervals for the reference and the best.
    """

    name: str
    axes: Mapping[str, Any] = field(default_factory=dict)
    variants: Sequence[Mapping[str, Any]] = ()
    reference: Mapping[str, Any] = field(default_factory=dict)
    score: str = "q"
    intervals: bool = True

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise UserError(f"ablation.score={self.score} is not known: use {', '.join(SCORES)}")
        if not isinstance(self.intervals, bool):
            raise UserError(f"ablation.intervals={self.intervals} must be true or false")
        if not isinstance(self.name, str) or not self.name:
            raise UserError(f"ablation.name={self.name} must be a name, for folders and titles")
        for key, kind, words in (
            ("axes", Mapping, "a mapping of keys to values"),
            ("reference", Mapping, "a mapping of overrides"),
            ("variants", list | tuple, "a list of mappings of overrides"),
        ):
            given = getattr(self, key)
            inner = given if key == "variants" and isinstance(given, list | tuple) else ()
            if not isinstance(given, kind) or not all(isinstance(v, Mapping) for v in inner):
                raise UserError(f"ablation.{key}={given} must be {words}")
        if not self.axes and not self.variants:
            raise UserError(f"ablation {self.name}: neither axes nor variants are given; nothing varies")
        for key in [*self.axes, *self.reference, *(k for v in self.variants for k in v if k != "name")]:
            group, _, leaf = str(key).partition(".")
            if group not in GROUPS and (leaf or group not in TOP):
                raise UserError(
                    f"ablation {self.name}: {key} cannot vary here; use {', '.join(GROUPS)}, a field of theirs "
                    f"(magnitude.lam), {', '.join(TOP)}; data sets vary with -m dataset=a,b"
                )
        for key, values in self.axes.items():
            _values(self.name, key, values, [])


@dataclass(frozen=True)
class Variant:
    """One point: its name, what it overrides, and the job that results."""

    name: str
    overrides: dict[str, Any]
    job: Job


def _values(name: str, key: str, values: Any, pairs: Sequence[Any]) -> list[Any]:
    """The values of an axis."""
    where = f"ablation {name}: axes.{key}"
    if values == "each" and key == "prompts.pairs":
        return [[pair] for pair in pairs]
    if isinstance(values, Mapping):
        if set(values) != {"start", "stop", "step"}:
            raise UserError(f"{where} needs start, stop and step, not {', '.join(map(str, values))}")
        for k, v in values.items():
            if isinstance(v, bool) or not isinstance(v, int | float):
                raise UserError(f"{where}: {k}={v} must be a number")
        start, stop, step = (float(values[k]) for k in ("start", "stop", "step"))
        if not (np.isfinite([start, stop, step]).all() and step > 0 and stop >= start):
            raise UserError(f"{where}: step must be above 0 and stop not below start")
        # rounded, so that 0.5 is 0.5 and 0 is 0
        return [round(start + k * step, 10) + 0.0 for k in range(int(round((stop - start) / step, 6)) + 1)]
    if not isinstance(values, list | tuple) or not values:
        raise UserError(f"{where} must be a list of values or {{start, stop, step}}")
    return list(values)


def _shown(value: Any) -> str:
    """A value in a variant's name."""
    if isinstance(value, list | tuple):
        return " | ".join(
            _shown(v) if not isinstance(v, list | tuple) else " / ".join(map(str, v)) for v in value
        )
    return f"{value:g}" if isinstance(value, float) else str(value)


def _name(overrides: Mapping[str, Any]) -> str:
    keys = [k for k in overrides if k != "name"]
    return ", ".join(f"{k.rpartition('.')[2]}={_shown(overrides[k])}" for k in keys) or "as configured"


def override(job: Job, overrides: Mapping[str, Any], compose: Compose | None = None) -> Job:
    """The job with overrides: options of groups first (composed), then fields.

    Raises:
        UserError: a field that does not exist, a value that the config refuses, an option without ``compose``.
    """
    options = {k: v for k, v in overrides.items() if k in GROUPS}
    if options:
        if compose is None:
            raise UserError(f"{next(iter(options))}={next(iter(options.values()))}: options need the configs")
        composed = compose([f"{k}={v}" for k, v in options.items()])
        job = replace(
            job,
            **{k: getattr(composed, k) for k in options},
            choices=job.choices | {k: str(v) for k, v in options.items()},
        )
    changed: dict[str, Any] = {}
    for key, value in overrides.items():
        group, _, leaf = key.partition(".")
        if leaf:
            part = changed.get(group, getattr(job, group))
            known = [f.name for f in fields(part)] if is_dataclass(part) else []
            if leaf not in known:
                raise UserError(f"{key}: {type(part).__name__} has no such field, only {', '.join(known)}")
            changed[group] = replace(part, **{leaf: tuple(value) if isinstance(value, list) else value})
        elif key not in GROUPS and key != "name":
            changed[key] = value
    return replace(job, **changed) if changed else job


def expand(job: Job, compose: Compose | None = None) -> tuple[list[Variant], int]:
    """The variants of ``job.ablation``, and which of them is the reference.

    Raises:
        UserError: no ablation chosen, a name twice, anything that `override` refuses.
    """
    ablation: Ablation | None = job.ablation
    if ablation is None:
        raise UserError("ablation is not set: add ablation=NAME, one of the options that --help lists")
    axes = {k: _values(ablation.name, k, v, job.prompts.pairs) for k, v in ablation.axes.items()}
    points = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    points += [dict(v) for v in ablation.variants]
    reference = dict(ablation.reference)
    bare = [{k: v for k, v in p.items() if k != "name"} for p in points]
    if reference in bare:
        at = bare.index(reference)
    else:
        at, points = 0, [reference, *points]
    names = [str(p.get("name") or _name(p)) for p in points]
    twice = next((n for n in names if names.count(n) > 1), None) if len(names) < 2000 else None
    if twice:
        raise UserError(
            f"ablation {ablation.name}: two variants are named {twice}; give one a name: of its own"
        )
    out = []
    for name, point in zip(names, points, strict=True):
        try:
            made = override(job, point, compose)
        except UserError as error:
            raise UserError(f"ablation {ablation.name}, variant {name}: {error}") from None
        out.append(Variant(name, {k: v for k, v in point.items() if k != "name"}, made))
    return out, at


# --- scores of many variants ----------------------------------------------------------------------------------------


def _alone(kinds: tuple[str, ...]) -> bool:
    """Whether such views alone are cut from an image that is not upscaled, where others are."""
    return kinds in (("whole",), ("center_crop",))


def _part_of(job: Job, source: Job) -> bool:
    """Whether a job's features are among those of another."""
    return (
        (job.backbone, job.dataset, job.precision, job.engine)
        == (source.backbone, source.dataset, source.precision, source.engine)
        and replace(job.views, kinds=source.views.kinds) == source.views
        and set(job.views.kinds) <= set(source.views.kinds)
        and (job.views.small == "error" or _alone(job.views.kinds) == _alone(source.views.kinds))
    )


def sources(jobs: Sequence[Job]) -> list[tuple[Job, list[int]]]:
    """The jobs whose features must be had, and the positions of those that use each."""
    out: list[tuple[Job, list[int]]] = []
    for i in sorted(range(len(jobs)), key=lambda i: -len(jobs[i].views.kinds)):
        users = next((users for source, users in out if _part_of(jobs[i], source)), None)
        if users is None:
            users = []
            out.append((jobs[i], users))
        users.append(i)
    return out


def view_mask(kinds: Sequence[str], wanted: Sequence[str], count: int) -> np.ndarray:
    """Which of an image's views (count,) are of the wanted kinds: one view a kind, the windows being the rest.

    Example:
        >>> view_mask(["windows", "global"], ["global"], 4).tolist()
        [False, False, False, True]
    """
    windows = count - (len(kinds) - 1)
    return np.concatenate([np.full(windows if k == "windows" else 1, k in wanted) for k in kinds])


def box_cox_means(log1p_magnitude: np.ndarray, lams: Sequence[float]) -> np.ndarray:
    """Mean over D of the Box-Cox transform for many lambdas: (V, D) -> (V, L).

    On a regular grid each lambda follows from its neighbour by expm1(a + b) = expm1(a) + expm1(b) + expm1(a) expm1(b),
    outwards from 0, where all terms have one sign and nothing cancels: the last of 50 steps differs from a direct
    expm1 by some 1e-14 of its value, at a tenth of the time.
    """
    order = sorted(range(len(lams)), key=lambda i: lams[i])
    out = np.empty((len(log1p_magnitude), len(lams)))
    for start in range(0, len(log1p_magnitude), _ROWS):
        logs = log1p_magnitude[start : start + _ROWS]
        rows = slice(start, start + len(logs))
        for sign in (1, -1):
            steps: dict[float, np.ndarray] = {}
            last, value = 0.0, np.zeros_like(logs)
            scratch = np.empty_like(logs)
            for i in order if sign > 0 else reversed(order):
                lam = lams[i]
                if lam == 0 and sign > 0:
                    out[rows, i] = logs.mean(axis=1)
                if lam * sign <= 0:
                    continue
                step = round(lam - last, 9)
                if step and abs(step) <= 0.25 and abs(lam - last - step) < 1e-12:
                    if step not in steps:
                        steps[step] = np.expm1(step * logs)
                    np.add(value, 1.0, out=scratch)
                    scratch *= steps[step]
                    value += scratch
                else:
                    value = np.expm1(lam * logs)
                out[rows, i] = value.mean(axis=1) / lam
                last = lam
    return out


def _unique(items: Sequence[Any]) -> tuple[list[Any], list[int]]:
    """Distinct config objects, and which of them each item is."""
    at: dict[str, int] = {}
    found: list[Any] = []
    index = []
    for item in items:
        key = repr(item)
        if key not in at:
            at[key] = len(found)
            found.append(item)
        index.append(at[key])
    return found, index


def magnitudes(rows: np.ndarray, cues: Sequence[Callable[[np.ndarray], np.ndarray]]) -> np.ndarray:
    """Many magnitude cues of features (V, D): (len(cues), V). log1p once for all lambdas of one kind."""
    out = np.empty((len(cues), len(rows)))
    for standardised in (True, False):
        lams = {
            i: c.lam for i, c in enumerate(cues) if isinstance(c, BoxCox) and c.standardise == standardised
        }
        if len(lams) > 1:
            a = standardise(rows) if standardised else np.abs(rows.astype(np.float64))
            out[list(lams)] = box_cox_means(np.log1p(a), list(lams.values())).T
        else:
            for i in lams:
                out[i] = cues[i](rows)
    for i, cue in enumerate(cues):
        if not isinstance(cue, BoxCox):
            out[i] = cue(rows)
    return out


def pooled(values: np.ndarray, starts: np.ndarray, how: str = "mean") -> np.ndarray:
    """One number an image from its views' values (..., M), images starting at ``starts`` (N,): (..., N)."""
    if how == "mean":
        counts = np.diff(np.append(starts, values.shape[-1]))
        return np.add.reduceat(values, starts, axis=-1) / counts
    return np.array([pool(part, how) for part in np.split(values, starts[1:])])


def _in_threads(work: Callable[..., None], items: Iterator[tuple[Any, ...]]) -> None:
    """Run work on items as they come, never more of them in memory than twice the cores."""
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(threads()) as executor:
        for item in items:
            pending.append(executor.submit(work, *item))
            if len(pending) >= threads() + 1:
                pending.popleft().result()
        while pending:
            pending.popleft().result()


def scores(features: Features, jobs: Sequence[Job], score: str = "q") -> np.ndarray:
    """Scores of each image for many jobs that use these features: (len(jobs), N), the order of the table.

    One pass over the features; the same as `magiqa.runner.score` for each job, to rounding.
    """
    prompts, p_of = _unique([j.prompts for j in jobs])
    cues, c_of = _unique([j.magnitude for j in jobs])
    texts = [features.text(p) for p in prompts] if score != "q_mag" else []
    kinds = tuple(features.record["views"]["kinds"])
    masks, m_of = _unique([tuple(k for k in kinds if k in j.views.kinds) for j in jobs])
    out = np.full((len(jobs), len(features.images)), np.nan)

    def work(owner: np.ndarray, rows: np.ndarray) -> None:
        sims = [similarity(rows, text, scale).mean(axis=1) for text, scale in texts]
        mags = magnitudes(rows, cues) if score != "q_sim" else np.empty((len(cues), 0))
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        counts = np.diff(np.append(starts, len(owner)))
        kept = []
        for wanted in masks:
            mask = np.concatenate([view_mask(kinds, wanted, int(c)) for c in counts])
            per_image = np.add.reduceat(mask, starts, dtype=np.int64)
            kept.append((mask, np.cumsum(per_image) - per_image))
        for v, job in enumerate(jobs):
            if score == "q":
                values = job.fusion(sims[p_of[v]], mags[c_of[v]])[0]
            else:
                values = sims[p_of[v]] if score == "q_sim" else mags[c_of[v]]
            mask, first = kept[m_of[v]]
            out[v, owner[starts]] = pooled(values[mask], first, job.pooling)

    _in_threads(work, features.cache.blocks(features.images))
    if not np.isfinite(out).all():
        bad = int(np.flatnonzero(~np.isfinite(out).all(axis=1))[0])
        raise UserError(
            f"{score}: not finite for {jobs[bad].magnitude} and {jobs[bad].fusion}; narrow the ablation"
        )
    return out


# --- large grids ----------------------------------------------------------------------------------------------------


def view_cues(
    features: Features, jobs: Sequence[Job], cues: Sequence[Callable[[np.ndarray], np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per-view scalars in the images' order: q_sim (M,), q_mag of each cue (L, M), the images' starts (N,)."""
    text, scale = features.text(jobs[0].prompts)
    counts = np.array([features.cache.entries[i].count for i in features.images])
    starts = np.cumsum(counts) - counts
    sim, mag = np.empty(counts.sum()), np.empty((len(cues), counts.sum()))

    def work(owner: np.ndarray, rows: np.ndarray) -> None:
        first = np.flatnonzero(np.diff(owner, prepend=-1))
        sizes = np.diff(np.append(first, len(owner)))
        at = np.repeat(starts[owner[first]], sizes) + np.arange(len(owner)) - np.repeat(first, sizes)
        sim[at] = similarity(rows, text, scale).mean(axis=1)
        mag[:, at] = magnitudes(rows, cues)

    _in_threads(work, features.cache.blocks(features.images))
    kinds, wanted = tuple(features.record["views"]["kinds"]), jobs[0].views.kinds
    if set(wanted) != set(kinds):
        mask = np.concatenate([view_mask(kinds, wanted, int(c)) for c in counts])
        counts = np.add.reduceat(mask, starts, dtype=np.int64)
        sim, mag, starts = sim[mask], mag[:, mask], np.cumsum(counts) - counts
    return sim, mag, starts


def _fuse_many(sim: np.ndarray, mag: np.ndarray, fusions: Sequence[Any]) -> Iterator[tuple[int, np.ndarray]]:
    """Position and per-view q of many fusions; of ``Adaptive`` ones, exp(-2 alpha d) is taken once an alpha."""
    gap = sim - mag
    alphas: dict[float, list[int]] = {}
    for i, fusion in enumerate(fusions):
        if type(fusion) is Adaptive:
            alphas.setdefault(fusion.alpha, []).append(i)
        else:
            yield i, fusion(sim, mag)[0]
    for alpha, users in alphas.items():
        with np.errstate(over="ignore"):
            decay = np.exp(-2.0 * alpha * gap)  # w_sim = 1 / (1 + exp(-base) exp(-2 alpha d))
        for i in users:
            base = fusions[i].base_sim - fusions[i].base_mag
            weight = decay * np.exp(-base)
            weight += 1.0
            np.divide(gap, weight, out=weight)
            weight += mag
            yield i, weight


def grid_srcc(features: Features, jobs: Sequence[Job], labels: np.ndarray, subsets: np.ndarray) -> np.ndarray:
    """SRCC of many variants that differ in magnitude and fusion only, on subsets of the images.

    Args:
        subsets: (H, N) zeros and ones; ones throughout for the whole set.

    Returns:
        (len(jobs), H), signed.
    """
    cues, c_of = _unique([j.magnitude for j in jobs])
    users: list[list[int]] = [[] for _ in cues]
    for i, c in enumerate(c_of):
        users[c].append(i)
    sim, mag, starts = view_cues(features, jobs, cues)
    ranker = _SubsetSrcc(labels, subsets)
    out = np.empty((len(jobs), len(subsets)))

    def work(c: int) -> None:
        for k, q in _fuse_many(sim, mag[c], [jobs[i].fusion for i in users[c]]):
            out[users[c][k]] = ranker(pooled(q, starts))

    _in_threads(work, ((c,) for c in range(len(cues))))
    return out


class _SubsetSrcc:
    """SRCC with fixed labels on fixed subsets of the images: one sort a score, then cumulative counts."""

    def __init__(self, labels: np.ndarray, subsets: np.ndarray) -> None:
        self.labels, self.subsets = labels, subsets
        self.member = subsets.astype(np.int32)
        self.centred = np.zeros(subsets.shape)
        n = subsets.sum(axis=1).astype(float)
        self.norm = np.empty(len(subsets))
        for h, subset in enumerate(subsets.astype(bool)):
            ranks = rankdata(labels[subset])
            self.centred[h, subset] = ranks - ranks.mean()
            self.norm[h] = np.sqrt(np.square(self.centred[h]).sum() * (n[h] ** 3 - n[h]) / 12)

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """(N,) -> (H,)."""
        order = np.argsort(scores)
        if (np.diff(scores[order]) == 0).any():
            return bootstrap_srcc_many(scores[None], self.labels, self.subsets)[0]
        # the centred label ranks sum to 0 in a subset, so the scores' ranks need no centring
        ranks = np.cumsum(np.take(self.member, order, axis=1), axis=1, dtype=np.int32).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.einsum("hn,hn->h", ranks, np.take(self.centred, order, axis=1)) / self.norm


# --- statistics -----------------------------------------------------------------------------------------------------


def optimism(on_halves: np.ndarray, reference: int) -> dict[str, float]:
    """How far picking the best of a grid on the images it is reported on flatters.

    On one half the best variant is picked; its gain over the reference there, less its gain on the other half, is
    the optimism. Both directions of every split, averaged.

    Args:
        on_halves: (M, 2 K) SRCC of each variant on K halves, then on their complements.
    """
    gain = on_halves - on_halves[reference]
    splits = gain.shape[1] // 2
    usable = np.isfinite(gain).any(axis=0)
    chosen, held_out = [], []
    for h in range(2 * splits):
        other = (h + splits) % (2 * splits)
        if usable[h] and usable[other]:
            best = _argmax(gain[:, h], reference)
            chosen.append(gain[best, h])
            held_out.append(gain[best, other])
    if not chosen or not np.isfinite(held_out).any():
        return dict.fromkeys(("gain_chosen", "gain_held_out", "optimism"), float("nan"))
    a, b = float(np.mean(chosen)), float(np.nanmean(held_out))
    return {"gain_chosen": a, "gain_held_out": b, "optimism": a - b}


def _argmax(values: np.ndarray, reference: int) -> int:
    """The position of the largest value; the reference where it is as large, or nothing is defined."""
    if not np.isfinite(values).any() or values[reference] >= np.nanmax(values):
        return reference
    return int(np.nanargmax(values))


def _resampling(labels: Labels, table: pd.DataFrame) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Groups and clusters of the images, where the data set has them."""
    groups = (
        table["group"].astype(str).to_numpy() if "group" in table and table["group"].notna().any() else None
    )
    cluster = labels.cluster
    return groups, table[cluster].astype(str).to_numpy() if cluster and cluster in table else None


def statistics(
    matrix: np.ndarray,
    y: np.ndarray,
    reference: int,
    *,
    groups: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row a variant: SRCC, SRCC within groups, PLCC, their 95 % intervals, and the paired difference to one of them.

    Args:
        matrix: (M, N) scores. y: (N,) labels. reference: the row that all others are compared with, on the same
            resamples, ranked anew in each.
    """
    counts = resample_counts(len(y), clusters=clusters, resamples=resamples, seed=seed)
    inside, units = counts, count_clusters(clusters)
    if groups is not None and clusters is None:
        inside = resample_counts(len(y), groups=groups, resamples=resamples, seed=seed)
    chosen: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"srcc": (counts, None), "plcc": (counts, None)}
    if groups is not None:
        chosen["srcc_within"] = (inside, groups)
    point = {s: point_many(s, matrix, y, g) for s, (_, g) in chosen.items()}
    with ThreadPoolExecutor(threads()) as executor:
        bands = {
            s: np.concatenate(
                list(executor.map(lambda x, s=s, c=c, g=g: bootstrap_many(s, x[None], y, c, g), matrix))
            )
            for s, (c, g) in chosen.items()
        }
    rows = []
    for v in range(len(matrix)):
        row: dict[str, Any] = {"n": len(y)}
        for s in ("srcc", "srcc_within", "plcc"):
            if s in chosen:
                row[s] = point[s][v]
                row[f"{s}_low"], row[f"{s}_high"] = interval(bands[s][v], clusters=units)
        for s, name in (("srcc", "diff"), ("srcc_within", "diff_within")):
            if s in chosen:
                differences = bands[s][v] - bands[s][reference]
                row[name] = point[s][v] - point[s][reference]
                row[f"{name}_low"], row[f"{name}_high"] = interval(differences, clusters=units)
                if s == "srcc":
                    row["p"] = float("nan") if v == reference else bootstrap_p(differences, units)
        rows.append(row)
    table = pd.DataFrame(rows)
    tested = table["p"].notna()
    table.insert(table.columns.get_loc("p") + 1, "p_holm", np.nan)
    if tested.any():
        table.loc[tested, "p_holm"] = holm(table.loc[tested, "p"].to_numpy())
    return table


# --- the command ----------------------------------------------------------------------------------------------------


def folder_of(job: Job) -> Path:
    """Where an ablation's results go."""
    if job.out:
        return Path(job.out).expanduser()
    return Path("results/ablations") / f"{job.ablation.name}-{job.name}"


def same_images(first: Features, other: Features) -> None:
    """Refuse features whose images differ: a paired difference needs the same ones.

    Raises:
        UserError: they do.
    """
    if first.images != other.images:
        raise UserError(
            f"dataset {first.labels.name}: variants kept {len(first.images)} and {len(other.images)} images, a paired "
            "difference needs the same ones; mend or remove the unreadable images"
        )


def score_all(
    jobs: Sequence[Job], clock: Clock, score: str = "q", *, progress: bool = True
) -> tuple[Features, np.ndarray]:
    """Scores (M, N) of jobs on one data set, whatever differs in them; features of the first job's source.

    Encodes only what no other job's features hold.
    """
    matrix: np.ndarray | None = None
    kept: Features | None = None
    for source, users in sources(jobs):
        features = prepare(source, clock, progress=progress)
        if kept is not None:
            same_images(kept, features)
        with clock.stage("score"):
            part = scores(features, [jobs[i] for i in users], score)
        if matrix is None:
            matrix = np.empty((len(jobs), part.shape[1]))
        matrix[users] = part
        kept = features if kept is None or 0 in users else kept
    assert matrix is not None and kept is not None
    return kept, matrix


def ablate(
    job: Job, compose: Compose | None = None, *, progress: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Evaluate the variants of ``job.ablation`` and write ``ablation.csv``, its figure and ``record.json``.

    Returns:
        The table, a row a variant, and the record.
    """
    variants, reference = expand(job, compose)
    ablation: Ablation = job.ablation
    clock = Clock()
    folder = folder_of(job)
    make_folder(folder, f"ablate ablation={ablation.name}", ["ablation.csv"])
    jobs = [v.job for v in variants]
    if ablation.intervals:
        features, matrix = score_all(jobs, clock, ablation.score, progress=progress)
        y, groups, clusters = _labels_of(features)
        with clock.stage("statistics"):
            found = statistics(
                matrix, y, reference, groups=groups, clusters=clusters, resamples=job.resamples, seed=job.seed
            )
            parts = _halves(y, clusters, job.seed, clock)
            split = bootstrap_srcc_many(matrix, y, parts) if len(parts) else np.empty((len(matrix), 0))
    else:
        features, found, split = _large(jobs, reference, ablation, job, clock, progress)
    chosen = optimism(split, reference)
    tested = int(found["p"].notna().sum())
    if tested:
        clusters_of = count_clusters(_labels_of(features)[2])
        needed = resamples_for(0.05 / tested, clusters_of)
        if needed is None or job.resamples < needed:
            remedy = (
                f"with {clusters_of} clusters a million resamples would not change that; read the intervals"
                if needed is None
                else f"read the intervals, or use resamples={needed}"
            )
            clock.warnings.append(
                f"{tested} differences tested on {job.resamples} resamples: p (Holm) of the smallest cannot fall under "
                f"0.05; {remedy}"
            )
    keys = list(dict.fromkeys(k for v in variants for k in v.overrides))
    columns: dict[str, Any] = {"variant": [v.name for v in variants], "score": ablation.score}
    for key in keys:
        values = [v.overrides.get(key, _current(v.job, key)) for v in variants]
        columns[key] = [v if isinstance(v, int | float | str) else _shown(v) for v in values]
    weights = [_weights(j) for j in jobs]
    backbone = dict(features.record["backbone"])
    if len(set(weights)) > 1:
        columns["weights"] = weights
        # one backbone speaks for all in captions: with every label, and those without one said to be so
        if any(j.backbone.shown_label for j in jobs):
            backbone["label"] = "; ".join(dict.fromkeys(weights))
    backbone["name"] = ", ".join(dict.fromkeys(j.backbone.name for j in jobs))
    table = pd.concat([pd.DataFrame(columns), found], axis=1)
    table["optimism"] = chosen["optimism"]
    numeric = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    best = _argmax(table["srcc"].to_numpy(), reference)
    record = {
        "magiqa": __version__,
        "command": "ablate",
        "name": f"{ablation.name}-{job.name}",
        "choices": job.choices,
        "config": job.config,
        **features.record,
        "backbone": backbone,
        "ablation": {
            "name": ablation.name,
            "score": ablation.score,
            "reference": variants[reference].name,
            "parameter": numeric[0] if len(keys) == 1 and numeric else None,
            "variants": len(variants),
            "best": variants[best].name,
            "best_srcc": _number(table["srcc"].iloc[best]),
            "best_gain": _number(table["srcc"].iloc[best] - table["srcc"].iloc[reference]),
            "split_half": {k: _number(v) for k, v in chosen.items()} | {"splits": split.shape[1] // 2},
        },
        "versions": versions(),
        "warnings": clock.warnings,
    }
    with writing(folder, ["ablation.csv"]) as write:
        write_csv(table, folder / "ablation.csv")
        write(record | {"seconds": clock.seconds})
        if job.figures:
            with clock.stage("figures"):
                _figure(folder, table, record, keys, reference)
            write(record | {"seconds": clock.seconds})
    return table, record


def _halves(y: np.ndarray, clusters: np.ndarray | None, seed: int, clock: Clock) -> np.ndarray:
    """Halves of the images for `optimism`; none, with a warning, where all images are of one cluster."""
    if count_clusters(clusters) == 1:
        clock.warnings.append(
            "all images are of one cluster, which cannot be halved: no optimism of the best, no intervals"
        )
        return np.empty((0, len(y)), np.uint8)
    return halves(len(y), clusters=clusters, splits=SPLITS, seed=seed)


def _weights(job: Job) -> str:
    """What a job's weights are, in a word or as they must be labelled."""
    bone = job.backbone
    return bone.shown_label or (
        "given" if bone.kind == "given" else f"published ({bone.pretrained or bone.name})"
    )


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _current(job: Job, key: str) -> Any:
    """The value that a key has in a job."""
    group, _, leaf = key.partition(".")
    if leaf:
        return getattr(getattr(job, group), leaf, "")
    return job.choices.get(group, "") if group in GROUPS else getattr(job, group)


def _labels_of(features: Features) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Label, groups and clusters of each image."""
    return features.table[features.labels.label].to_numpy(float), *_resampling(
        features.labels, features.table
    )


def _large(
    jobs: list[Job], reference: int, ablation: Ablation, job: Job, clock: Clock, progress: bool
) -> tuple[Features, pd.DataFrame, np.ndarray]:
    """A grid without intervals, but for the reference and the best."""
    fixed = [_unique([getattr(j, g) for j in jobs])[0] for g in ("backbone", "prompts", "views", "pooling")]
    if any(len(f) > 1 for f in fixed) or jobs[0].pooling != "mean" or ablation.score != "q":
        raise UserError(
            f"ablation {ablation.name}: with intervals=false only magnitude and fusion can vary, the score is q and "
            "pooling is mean; set ablation.intervals=true"
        )
    features = prepare(jobs[0], clock, progress=progress)
    y, groups, clusters = _labels_of(features)
    with clock.stage("score"):
        parts = _halves(y, clusters, job.seed, clock)
        everything = np.ones((1, len(y)), np.int16)
        grid = grid_srcc(features, jobs, y, np.concatenate([everything, parts]))
    found = pd.DataFrame({"n": len(y), "srcc": grid[:, 0]})
    with clock.stage("statistics"):
        best = _argmax(grid[:, 0], reference)
        rows = [reference, best] if best != reference else [reference]
        matrix = scores(features, [jobs[i] for i in rows], ablation.score)
        some = statistics(
            matrix, y, 0, groups=groups, clusters=clusters, resamples=job.resamples, seed=job.seed
        )
        some.index = pd.Index(rows)
        for column in some.columns.drop(["n", "srcc"]):
            found[column] = some[column].reindex(found.index)
    found["diff"] = found["srcc"] - found["srcc"].iloc[reference]
    # the one p is of the best of thousands, picked on these images: no test
    found[["p", "p_holm"]] = np.nan
    return features, found, grid[:, 1:]


def _figure(
    folder: Path, table: pd.DataFrame, record: dict[str, Any], keys: list[str], reference: int
) -> None:
    """A line or dots; of a product of number axes, a line an axis through the reference and the best beside it."""
    from magiqa.figures import ablation_figure, caption, line_band

    stem = folder / "figures" / "ablation"
    stem.parent.mkdir(exist_ok=True)
    axes = [k for k in keys if pd.api.types.is_numeric_dtype(table[k]) and table[k].nunique() >= 5]
    if len(axes) < 2:
        ablation_figure(stem, table, record)
        return
    for axis in axes:
        at = table.iloc[reference]
        others = [k for k in keys if k != axis]
        through = table[(table[others] == at[others]).all(axis=1)]
        best = table.groupby(axis, as_index=False)["srcc"].max()
        parts = [
            through.assign(series="others at the reference"),
            best.assign(series="best of all others (optimistic)"),
        ]
        frame = pd.concat([p[[axis, "srcc", "series"]] for p in parts]).rename(
            columns={axis: "x", "srcc": "value"}
        )
        line_band(
            stem.with_name(f"ablation_{axis.replace('.', '_')}"),
            frame.assign(low=np.nan, high=np.nan),
            xlabel=axis,
            ylabel=f"SRCC with {record['dataset']['label']}",
            title=f"Ablation: {record['ablation']['name']}",
            note=caption(record),
            mark=float(at[axis]),
        )


def render(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """What ``magiqa ablate`` prints: reference, best and a selection of variants, and what picking the best costs."""
    about, data, bone = record["ablation"], record["dataset"], record["backbone"]
    label = f" ({bone['label']})" if bone["label"] else ""
    name = data["name"] + (f" ({data['variant']})" if data["variant"] else "")
    head = [
        f"ablation {about['name']}: {about['variants']} variants of {about['score']}; {name}, n={data['n']}, label "
        f"{data['label']}; {bone['name']}{label}",
        f"reference {about['reference']}; 95 % bootstrap intervals, paired differences"
        + (f", resampled by {data['cluster']}" if data["cluster"] else ""),
        "",
    ]
    names = table["variant"].tolist()
    keep = sorted(
        set(np.linspace(0, len(table) - 1, min(len(table), 25)).astype(int))
        | {names.index(about["reference"]), names.index(about["best"])}
    )

    def cell(row: pd.Series, key: str, sign: str = "") -> str:
        if key not in row or pd.isna(row[key]):
            return "-"
        low, high = row.get(f"{key}_low"), row.get(f"{key}_high")
        band = "" if low is None or pd.isna(low) else f" [{low:{sign}.3f}, {high:{sign}.3f}]"
        return f"{row[key]:{sign}.4f}{band}"

    shown = ["srcc", *(["srcc_within"] if "srcc_within" in table else []), "plcc"]
    rows = [["", *shown, "difference", "p (Holm)"]]
    for i in keep:
        row = table.iloc[i]
        mark = " *" if names[i] == about["best"] else ""
        p = "-" if pd.isna(row["p_holm"]) else f"{row['p_holm']:.3g}"
        rows.append([names[i] + mark, *(cell(row, s) for s in shown), cell(row, "diff", "+"), p])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows]
    if len(keep) < len(table):
        lines.append(f"{len(keep)} of {len(table)} variants; ablation.csv holds all")
    split = about["split_half"]
    if split["optimism"] is not None:
        lines += [
            "",
            f"* best, picked on these images: {about['best_gain']:+.4f} over the reference. Picked on one half it "
            f"gains {split['gain_chosen']:+.4f} there and {split['gain_held_out']:+.4f} on the other half: optimism "
            f"{split['optimism']:.4f} ({split['splits']} splits)",
        ]
    return "\n".join([*head, *lines, *(f"warning: {w}" for w in record["warnings"])])


def transfer(done: Sequence[tuple[pd.DataFrame, dict[str, Any]]]) -> pd.DataFrame:
    """Leave one data set out: the variant that is best on the others, and what it gains on the one left out.

    Args:
        done: table and record of the same ablation on several data sets.

    Returns:
        A row a data set: the variant chosen on the others (by its mean gain over the reference), its gain here, the
        gain of the variant that is best here, and the difference of the two: the optimism.
    """
    names = [r["dataset"]["name"] + r["dataset"]["variant"] for _, r in done]
    gains = pd.DataFrame(
        {n: t.set_index("variant")["diff"] for n, (t, _) in zip(names, done, strict=True)}
    ).dropna()
    rows = []
    for name, (table, record) in zip(names, done, strict=True):
        others = gains.drop(columns=name)
        chosen, own = others.mean(axis=1).idxmax(), gains[name].idxmax()
        rows.append(
            {
                "dataset": name,
                "n": record["dataset"]["n"],
                "weights": record["backbone"]["label"] or record["backbone"]["kind"],
                "reference": record["ablation"]["reference"],
                "srcc_reference": table.set_index("variant")["srcc"][record["ablation"]["reference"]],
                "chosen_on_others": chosen,
                "gain_chosen": gains.loc[chosen, name],
                "best_here": own,
                "gain_best": gains.loc[own, name],
                "optimism": gains.loc[own, name] - gains.loc[chosen, name],
            }
        )
    return pd.DataFrame(rows)

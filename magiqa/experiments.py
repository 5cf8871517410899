"""Experiments: the tables and figures of the paper's kind, and the controls that it lacks, on one data set.

An experiment is a config object with ``tables(study)``, which returns tables by name and notes, and ``draw``. All of
them score through `magiqa.ablation`, so that features are encoded once and numbers equal those of single runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from magiqa import __version__
from magiqa.ablation import Compose, override, score_all, statistics
from magiqa.agreement import bootstrap_many, count_clusters, interval, point_many, resample_counts
from magiqa.comparison import (
    bootstrap_p,
    crossval_linear,
    group_distance,
    holm,
    krasula,
    noise_ceiling,
    partial_srcc,
    regimes,
)
from magiqa.cues import BoxCox
from magiqa.errors import UserError
from magiqa.job import Job
from magiqa.runner import (
    Clock,
    Features,
    make_folder,
    prepare,
    score,
    versions,
    write_csv,
    writing,
)

Tables = dict[str, pd.DataFrame]
CUES = ("q_sim", "q_mag", "q")
# the paper's method, in the overrides of a job
MACLIP = (
    "prompts=maclip",
    "views=maclip",
    "magnitude=boxcox",
    "fusion=adaptive",
    "pooling=mean",
    "backbone.positional_embedding=drop",
)


class Lacking(UserError):
    """The data set has not what an experiment is about."""


def _whole(key: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"experiment.{key}={value} must be a whole number from {least}")


def _several(key: str, values: Any, kinds: tuple[type, ...], words: str) -> None:
    """Check a list that is not empty and holds nothing twice."""
    right = isinstance(values, list | tuple) and all(
        isinstance(v, kinds) and not isinstance(v, bool) and v == v for v in values
    )
    if not right or not values or len(set(values)) < len(values):
        raise UserError(f"experiment.{key}={values} must be a list of {words}, each once")


@dataclass
class Study:
    """One data set and method, and what experiments ask of it."""

    job: Job
    compose: Compose | None
    clock: Clock
    progress: bool = True
    _features: Features | None = None

    @property
    def features(self) -> Features:
        """Of the job as configured."""
        if self._features is None:
            self._features = prepare(self.job, self.clock, progress=self.progress)
        return self._features

    @property
    def y(self) -> np.ndarray:
        """The label (N,)."""
        return self.features.table[self.features.labels.label].to_numpy(float)

    def column(self, name: str | None) -> np.ndarray | None:
        """A column of names, or None where the data set has none."""
        table = self.features.table
        return (
            table[name].astype(str).to_numpy()
            if name and name in table and table[name].notna().any()
            else None
        )

    @property
    def groups(self) -> np.ndarray | None:
        """Generators or distortion types."""
        return self.column("group")

    @property
    def clusters(self) -> np.ndarray | None:
        """What is resampled whole."""
        return self.column(self.features.labels.cluster)

    def need(self, name: str) -> np.ndarray:
        """A column that an experiment cannot do without.

        Raises:
            Lacking: the data set has none.
        """
        found = self.column(name)
        if found is None:
            raise Lacking(
                f"dataset {self.features.labels.name} has no {name}, which this experiment needs; leave it out"
            )
        return found

    def content(self) -> tuple[str, np.ndarray]:
        """The column that says what images show, where they share it (reference, prompt), else the groups.

        Raises:
            Lacking: the data set has none of these.
        """
        for name in ("reference", "prompt"):
            found = self.column(name)
            if found is not None and 1 < len(set(found)) <= len(found) / 2:
                return name, found
        return "group", self.need("group")

    def as_maclip(self) -> None:
        """From now on the job is MA-CLIP's, whatever was configured.

        Raises:
            UserError: it was told to run from a bundle, which holds the features of one set of views.
        """
        self.from_images("windows, global views and whole images")
        if self.compose is None:
            raise UserError(
                "this experiment names options, which need the configs: run it by magiqa experiment"
            )
        compose = self.compose

        def pinned(more: list[str]) -> Job:
            named = {o.partition("=")[0] for o in more}
            return compose([*(o for o in MACLIP if o.partition("=")[0] not in named), *more])

        self.compose, self.job = pinned, pinned([])

    def from_images(self, what: str) -> None:
        """Refuse a bundle.

        Raises:
            UserError: it was told to run from one.
        """
        if self.job.bundle:
            raise UserError(
                f"experiment={self.job.experiment.name} needs features of {what}, bundle={self.job.bundle} does not "
                "hold them all; leave out bundle= and give the images and weights (dataset.root=DIR)"
            )

    def cues(self) -> pd.DataFrame:
        """q_sim, q_mag, q and w_sim of each image."""
        job = self.job
        return score(self.features, job.prompts, job.magnitude, job.fusion, job.pooling)[0]

    def scores(self, rows: Sequence[tuple[Mapping[str, Any], str]]) -> np.ndarray:
        """Scores (M, N) of rows of (overrides, score)."""
        jobs = [override(self.job, overrides, self.compose) for overrides, _ in rows]
        out = np.empty((len(rows), len(self.y)))
        for one in CUES:
            at = [i for i, (_, s) in enumerate(rows) if s == one]
            if at:
                out[at] = score_all([jobs[i] for i in at], self.clock, one, progress=self.progress)[1]
        return out

    def statistics(self, matrix: np.ndarray, reference: int) -> pd.DataFrame:
        """A row a method, as in an ablation."""
        return statistics(
            matrix,
            self.y,
            reference,
            groups=self.groups,
            clusters=self.clusters,
            resamples=self.job.resamples,
            seed=self.job.seed,
        )

    def draws(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """SRCC (M,) and its resamples (M, R)."""
        counts = resample_counts(len(self.y), self.clusters, None, self.job.resamples, self.job.seed)
        return point_many("srcc", matrix, self.y), bootstrap_many("srcc", matrix, self.y, counts)

    def band(self, values: np.ndarray) -> tuple[float, float]:
        """Interval of resampled values."""
        return interval(values, clusters=count_clusters(self.clusters))


def _row(study: Study, value: float, draws: np.ndarray, test: bool = True) -> dict[str, float]:
    low, high = study.band(draws)
    out = {"diff": value, "diff_low": low, "diff_high": high}
    return out | ({"p": bootstrap_p(draws, count_clusters(study.clusters))} if test else {})


def _with_holm(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy(float))
    return table


def _dots(
    folder: Path, name: str, frame: pd.DataFrame, xlabel: str, title: str, record: dict[str, Any]
) -> None:
    """A figure of columns name, value, low, high and series."""
    from magiqa.figures import caption, dots

    dots(folder / name, frame, xlabel=xlabel, title=title, note=caption(record))


def _srcc_dots(table: pd.DataFrame, names: pd.Series) -> pd.DataFrame:
    parts = [("srcc", "pooled"), ("srcc_within", "mean within groups")]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "name": names,
                    "value": table[s],
                    "low": table[f"{s}_low"],
                    "high": table[f"{s}_high"],
                    "series": series,
                }
            )
            for s, series in parts
            if s in table
        ],
        ignore_index=True,
    )


@dataclass(frozen=True)
class Main:
    """CLIP-IQA, magnitude only and MA-CLIP, with paired differences to MA-CLIP."""

    name: str = "main"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``main``: a row a method."""
        study.as_maclip()
        paper: dict[str, Any] = {}
        rows: dict[str, tuple[dict[str, Any], str]] = {
            "CLIP-IQA (one pair, whole image)": ({"prompts": "clipiqa", "views": "whole"}, "q_sim"),
            "CLIP-IQA (five pairs, whole image)": ({"prompts": "maclip", "views": "whole"}, "q_sim"),
            "similarity only (five pairs, windows and global)": (paper, "q_sim"),
            "magnitude only": (paper, "q_mag"),
            "MA-CLIP": (paper, "q"),
        }
        matrix = study.scores(list(rows.values()))
        controls = study.features.controls
        names = [*rows, "Laplacian variance (control)", "file bytes (control)"]
        matrix = np.vstack([matrix, controls["laplacian"], controls["bytes"]])
        table = study.statistics(matrix, list(rows).index("MA-CLIP"))
        table.insert(0, "method", names)
        return {"main": table}, [
            "diff: method less MA-CLIP, on the same resamples",
            "methods have their own options and parameters, whatever views, fusion or pooling the command names",
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """SRCC of each method."""
        frame = _srcc_dots(tables["main"], tables["main"]["method"])
        _dots(
            folder, "main", frame, f"SRCC with {record['dataset']['label']}, 95 % interval", "Methods", record
        )


@dataclass(frozen=True)
class Attribution:
    """What brings the gain: one or five pairs, whole image, global view or windows too, each cue or both fused."""

    name: str = "attribution"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``cells``: all combinations; ``steps``: each factor's gain in every setting of the others; ``shares``."""
        study.as_maclip()
        pairs = {"one pair": "clipiqa", "five pairs": "maclip"}
        views = {"whole image": "whole", "global view": "global", "windows and global": "maclip"}
        cues = {"similarity": "q_sim", "magnitude": "q_mag", "fused": "q"}
        cells = list(product(pairs, views, cues))
        rows = [({"prompts": pairs[p], "views": views[v]}, cues[c]) for p, v, c in cells]
        matrix = study.scores(rows)
        table = study.statistics(matrix, cells.index(("one pair", "whole image", "similarity")))
        for i, column in enumerate(("prompts", "views", "cue")):
            table.insert(i, column, [cell[i] for cell in cells])
        point, draws = study.draws(matrix)
        base = ("one pair", "whole image", "similarity")
        full = ("five pairs", "windows and global", "fused")
        names = ("five pairs", "windows and global", "magnitude (fused)")

        def at(on: frozenset[int]) -> int:
            c = tuple(full[i] if i in on else base[i] for i in range(3))
            return cells.index((c[0], c[1], c[2]))

        steps = []
        for factor in range(3):
            others = [i for i in range(3) if i != factor]
            for on in product((False, True), repeat=2):
                before = frozenset(o for o, used in zip(others, on, strict=True) if used)
                a, b = at(before | {factor}), at(before)
                steps.append(
                    {
                        "factor": names[factor],
                        "added_to": " + ".join(names[o] for o in sorted(before))
                        or "CLIP-IQA (one pair, whole image)",
                    }
                    | _row(study, point[a] - point[b], draws[a] - draws[b])
                )
        shares = []
        for factor in range(3):
            gains = []
            for order in permutations(range(3)):
                before = frozenset(order[: order.index(factor)])
                gains.append((at(before | {factor}), at(before)))
            value = float(np.mean([point[a] - point[b] for a, b in gains]))
            drawn = np.mean([draws[a] - draws[b] for a, b in gains], axis=0)
            shares.append({"factor": names[factor]} | _row(study, value, drawn, test=False))
        whole = (at(frozenset({0, 1, 2})), at(frozenset()))
        total = _row(study, point[whole[0]] - point[whole[1]], draws[whole[0]] - draws[whole[1]], test=False)
        shares.append({"factor": "all three"} | total)
        notes = [
            "steps: gain of a factor in SRCC, whatever else is on; shares: its mean over the six orders of adding them "
            "(Shapley), which sum to the whole gain",
            "factors are MA-CLIP's and CLIP-IQA's own, whatever views, fusion or pooling the command names",
        ]
        return {"cells": table, "steps": _with_holm(steps), "shares": pd.DataFrame(shares)}, notes

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """The steps, by factor."""
        steps = tables["steps"]
        frame = steps.rename(columns={"diff": "value", "diff_low": "low", "diff_high": "high"})
        frame = frame.assign(name=steps["factor"] + ", added to " + steps["added_to"])
        _dots(
            folder, "attribution", frame, "gain in SRCC, paired 95 % interval", "What brings the gain", record
        )


@dataclass(frozen=True)
class Magnitude:
    """Each definition of magnitude against the label, beside its null: the untrained network and the controls."""

    name: str = "magnitude"
    seeds: Sequence[int] = (0, 1, 2)
    definitions: Sequence[str] = ("boxcox", "boxcox_raw", "l1", "l2", "max", "std", "mean")
    resamples: int = 200

    def __post_init__(self) -> None:
        _several("seeds", self.seeds, (int,), "whole numbers")
        if min(self.seeds) < 0:
            raise UserError(f"experiment.seeds={self.seeds} must be whole numbers from 0")
        _several("definitions", self.definitions, (str,), "options of magnitude")
        _whole("resamples", self.resamples, 20)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``magnitude``: SRCC, partial SRCC given the controls, and the difference to the untrained network's."""
        study.from_images("untrained networks")
        job = study.job
        controls = study.features.controls
        pixels = (controls["width"] * controls["height"]).to_numpy(float)
        given = np.column_stack([controls["laplacian"], controls["bytes"], pixels])
        given = given[:, given.std(axis=0) > 0]
        bone = job.backbone
        untrained = [
            replace(bone, pretrained=None, checkpoint=None, label=None, untrained=s) for s in self.seeds
        ]
        networks = {bone.shown_label or "as given": job} | {
            f"untrained, seed {s}": replace(job, backbone=b)
            for s, b in zip(self.seeds, untrained, strict=True)
        }
        definitions = {d: override(job, {"magnitude": d}, study.compose).magnitude for d in self.definitions}
        names, jobs = [], []
        for (network, made), (definition, cue) in product(networks.items(), definitions.items()):
            names.append((definition, network))
            jobs.append(replace(made, magnitude=cue))
        matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)[1]
        extra = [("Laplacian variance", "control"), ("file bytes", "control")]
        rows = [controls["laplacian"].to_numpy(float), controls["bytes"].to_numpy(float)]
        if pixels.std() > 0:
            extra, rows = [*extra, ("pixels", "control")], [*rows, pixels]
        matrix, names = np.vstack([matrix, *rows]), [*names, *extra]
        point, draws = study.draws(matrix)
        first = next(iter(networks))
        index = {n: i for i, n in enumerate(names)}
        counts = resample_counts(len(study.y), study.clusters, None, self.resamples, job.seed)
        out = []
        for i, (definition, network) in enumerate(names):
            row: dict[str, Any] = {
                "definition": definition,
                "network": network,
                "n": len(study.y),
                "srcc": point[i],
            }
            row["srcc_low"], row["srcc_high"] = study.band(draws[i])
            if network != "control":
                row["partial"] = partial_srcc(matrix[i], study.y, given)
                again = [np.repeat(np.arange(len(c)), c) for c in counts.astype(int)]
                resampled = np.array([partial_srcc(matrix[i][r], study.y[r], given[r]) for r in again])
                row["partial_low"], row["partial_high"] = study.band(resampled)
            if network == first:
                # the network's own agreement in excess of its untrained twins', whatever the sign
                null = [index[(definition, n)] for n in networks if n != first]
                excess = abs(point[i]) - np.mean(np.abs(point[null]))
                row |= _row(study, excess, np.abs(draws[i]) - np.abs(draws[null]).mean(axis=0), test=False)
            out.append(row)
        return {"magnitude": pd.DataFrame(out)}, [
            "partial: SRCC with Laplacian variance, file bytes and pixels (where they vary) partialled out",
            "diff: |SRCC| less the mean |SRCC| of the untrained networks, same resamples",
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """SRCC of each definition, a series a network."""
        table = tables["magnitude"]
        frame = table.rename(columns={"definition": "name", "network": "series", "srcc": "value"})
        frame = frame.rename(columns={"srcc_low": "low", "srcc_high": "high"})
        _dots(
            folder, "magnitude", frame, "SRCC with the label, 95 % interval", "Magnitude and its null", record
        )


BIAS = {
    "reference": ("reference images", "Dependence on content"),
    "prompt": ("prompts", "Dependence on content"),
    "group": ("groups (generators or distortion types)", "Dependence on the group"),
}


@dataclass(frozen=True)
class Bias:
    """Semantic bias: how far apart the magnitudes of images of different content lie, before and after Box-Cox.

    Content is what images share: their reference or prompt; where no such thing is shared, the generator or
    distortion type.
    """

    name: str = "bias"
    lams: Sequence[float] = (1.0, 0.5, 0.0, -1.0)
    permutations: int = 20

    def __post_init__(self) -> None:
        _several("lams", self.lams, (int, float), "numbers")
        if not np.isfinite(self.lams).all():
            raise UserError(f"experiment.lams={self.lams} must be finite numbers")
        _whole("permutations", self.permutations, 1)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``bias``: mean Wasserstein distance between groups, in standard deviations, as is and given the label."""
        y = study.y
        by, groups = study.content()
        jobs, names = [], []
        for standardise, lam in product((True, False), self.lams):
            jobs.append(replace(study.job, magnitude=BoxCox(float(lam), standardise)))
            what = "before Box-Cox" if lam == 1 else f"lambda {lam:g}"
            names.append((what, "standardised |f|" if standardise else "raw |f|"))
        matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)[1]
        ranks = rankdata(y) - (len(y) + 1) / 2
        rows = []
        for (what, kind), x in zip([*names, ("label", "the label itself")], [*matrix, y], strict=True):
            found = group_distance(x, groups, permutations=self.permutations, seed=study.job.seed)
            row = {"by": by, "cue": what, "of": kind, "distance": found.distance, "chance": found.chance}
            if what != "label":
                # groups differ in quality too: what is left when the label's rank is regressed out
                own = rankdata(x) - (len(x) + 1) / 2
                rest = own - ranks * (own @ ranks) / (ranks @ ranks)
                left = group_distance(rest, groups, permutations=self.permutations, seed=study.job.seed)
                row |= {"distance_given_label": left.distance, "chance_given_label": left.chance}
                row["srcc"] = point_many("srcc", x[None], y)[0]
            rows.append(row)
        return {"bias": pd.DataFrame(rows)}, [
            f"between {len(set(groups))} {BIAS[by][0]}"
            + ("; no content is shared by images of this set" if by == "group" else ""),
            "lambda 1 is the plain mean; distances in standard deviations of all values; chance: groups shuffled",
            "groups differ in the label too (its own row): distance_given_label is of what the label does not explain",
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Distances and chance."""
        table = tables["bias"]
        parts = [
            table.assign(series=s, value=table[c])
            for s, c in (
                ("distance", "distance"),
                ("given the label", "distance_given_label"),
                ("by chance", "chance"),
            )
        ]
        frame = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
        frame = frame.assign(name=frame["of"] + ", " + frame["cue"], low=np.nan, high=np.nan)
        groups, title = BIAS[str(table["by"].iloc[0])]
        _dots(folder, "bias", frame, f"Wasserstein distance between {groups} (sd)", title, record)


@dataclass(frozen=True)
class Regimes:
    """Which cue is better among low-, middle- and high-quality images: paired differences inside each bin."""

    name: str = "regimes"
    bins: int = 3

    def __post_init__(self) -> None:
        _whole("bins", self.bins, 1)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``regimes``: a row a pair of cues and bin."""
        cues = study.cues()
        rows = []
        for a, b in (("q_sim", "q_mag"), ("q", "q_sim"), ("q", "q_mag")):
            found = regimes(
                cues[a],
                cues[b],
                study.y,
                bins=self.bins,
                clusters=study.clusters,
                resamples=study.job.resamples,
                seed=study.job.seed,
            )
            for k, regime in enumerate(found):
                t = regime.test
                rows.append(
                    {
                        "a": a,
                        "b": b,
                        "bin": k + 1,
                        "label_from": regime.low,
                        "label_to": regime.high,
                        "n": t.n,
                        "srcc_a": t.a,
                        "srcc_b": t.b,
                        "diff": t.diff,
                        "diff_low": t.ci_low,
                        "diff_high": t.ci_high,
                        "p": t.p,
                    }
                )
        return {"regimes": _with_holm(rows)}, [
            "SRCC falls inside a bin because the range is cut: compare cues inside one bin, never bins with each other"
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Differences by bin."""
        from magiqa.figures import caption, dots

        table = tables["regimes"]
        frame = table.rename(columns={"diff": "value", "diff_low": "low", "diff_high": "high"})
        frame = frame.assign(
            name=[
                f"bin {k}: {a:.3g} to {b:.3g}"
                for k, a, b in zip(table["bin"], table["label_from"], table["label_to"], strict=True)
            ],
            series=table["a"] + " - " + table["b"],
        ).sort_values("bin", kind="stable")
        dots(
            folder / "regimes",
            frame,
            xlabel="difference in SRCC inside the bin, paired 95 % interval",
            title="Cues by quality regime",
            note=caption(record) + " · SRCC across bins mostly measures the range: compare inside a bin only",
        )


@dataclass(frozen=True)
class Breakdown:
    """Each cue inside each generator or distortion type, and level where there are levels."""

    name: str = "breakdown"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``group`` (and ``level``): SRCC of each cue, and the paired difference of q and q_sim."""
        study.need("group")
        cues = study.cues()
        matrix, y, clusters = cues[list(CUES)].to_numpy().T, study.y, study.clusters
        out: Tables = {}
        for by in ("group", "level"):
            names = study.column(by)
            if names is None:
                continue
            rows = []
            for name in sorted(set(names), key=lambda v: (len(v), v) if by == "level" else (0, v)):
                at = np.flatnonzero(names == name)
                row: dict[str, Any] = {by: name, "n": len(at)}
                if len(at) >= 3:
                    inside = None if clusters is None else clusters[at]
                    units = count_clusters(inside)
                    counts = resample_counts(len(at), inside, None, study.job.resamples, study.job.seed)
                    point = point_many("srcc", matrix[:, at], y[at])
                    draws = bootstrap_many("srcc", matrix[:, at], y[at], counts)
                    for k, cue in enumerate(CUES):
                        row[cue] = point[k]
                        row[f"{cue}_low"], row[f"{cue}_high"] = interval(draws[k], clusters=units)
                    row["diff"] = point[2] - point[0]
                    row["diff_low"], row["diff_high"] = interval(draws[2] - draws[0], clusters=units)
                    row["p"] = bootstrap_p(draws[2] - draws[0], units)
                rows.append(row)
            out[by] = _with_holm(rows) if any("p" in r for r in rows) else pd.DataFrame(rows)
        return out, ["SRCC inside each group; diff: q less q_sim; a group under 3 images has empty values"]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """SRCC by group, a series a cue."""
        for by, table in tables.items():
            parts = [
                pd.DataFrame(
                    {
                        "name": table[by],
                        "value": table[c],
                        "low": table[f"{c}_low"],
                        "high": table[f"{c}_high"],
                        "series": c,
                    }
                )
                for c in CUES
                if c in table
            ]
            if parts:
                frame = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
                label = record["dataset"]["label"]
                _dots(folder, f"by_{by}", frame, f"SRCC with {label}, 95 % interval", f"By {by}", record)


@dataclass(frozen=True)
class Weights:
    """The weight that fusion gives to similarity, over the label."""

    name: str = "weights"
    bins: int = 10

    def __post_init__(self) -> None:
        _whole("bins", self.bins, 1)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``weights``: mean w_sim, q_sim and q_mag in bins of the label."""
        cues, y = study.cues(), study.y
        if cues["w_sim"].isna().any():
            raise UserError("fusion: this one has no weights; use fusion=adaptive")
        which = np.searchsorted(np.quantile(y, np.linspace(0, 1, self.bins + 1)[1:-1]), y)
        counts = resample_counts(len(y), study.clusters, None, study.job.resamples, study.job.seed).astype(
            float
        )
        rows = []
        for k in sorted(set(which)):
            at = which == k
            row: dict[str, Any] = {"bin": k + 1, "label": y[at].mean(), "n": int(at.sum())}
            total = counts[:, at].sum(axis=1)
            for name in ("w_sim", "q_sim", "q_mag"):
                values = cues[name].to_numpy()[at]
                with np.errstate(invalid="ignore"):
                    drawn = counts[:, at] @ values / total
                row[name] = values.mean()
                row[f"{name}_low"], row[f"{name}_high"] = study.band(drawn)
            rows.append(row)
        value, draws = study.draws(cues["w_sim"].to_numpy()[None])
        low, high = study.band(draws[0])
        return {"weights": pd.DataFrame(rows)}, [
            f"SRCC of w_sim with the label {value[0]:+.4f} [{low:+.3f}, {high:+.3f}]; w_mag = 1 - w_sim"
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """w_sim over the label."""
        from magiqa.figures import caption, line_band

        t = tables["weights"]
        parts = [
            pd.DataFrame(
                {"x": t["label"], "value": t[c], "low": t[f"{c}_low"], "high": t[f"{c}_high"], "series": c}
            )
            for c in ("w_sim", "q_sim", "q_mag")
        ]
        line_band(
            folder / "weights",
            pd.concat(parts, ignore_index=True),
            xlabel=f"{record['dataset']['label']}, bins of equal size",
            ylabel="mean, 95 % interval",
            title="Weight given to similarity, and the cues",
            note=caption(record),
        )


@dataclass(frozen=True)
class Linear:
    """A cross-validated linear fusion of the two cues: what fusing them could bring at most, roughly."""

    name: str = "linear"
    folds: int = 10

    def __post_init__(self) -> None:
        _whole("folds", self.folds, 2)

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``linear``: the fusion as configured, both cues and the linear fusion, with paired differences."""
        cues = study.cues()
        fitted = crossval_linear(
            cues[["q_sim", "q_mag"]].to_numpy(),
            study.y,
            folds=self.folds,
            clusters=study.clusters,
            seed=study.job.seed,
        )
        names = ["fused (as configured)", "similarity", "magnitude", "linear, cross-validated"]
        matrix = np.stack([cues["q"], cues["q_sim"], cues["q_mag"], fitted.predictions])
        table = study.statistics(matrix, 0)
        table.insert(0, "method", names)
        inside = (
            "left-out folds hold too few images for an SRCC of their own"
            if np.isnan(fitted.srcc)
            else f"mean SRCC inside left-out folds {fitted.srcc:.4f}"
        )
        return {"linear": table}, [
            f"linear: fitted on the labels of {self.folds - 1} of {self.folds} folds, so not training-free; "
            f"{inside}; weights of standardised cues {fitted.weights[0]:+.3f} q_sim, "
            f"{fitted.weights[1]:+.3f} q_mag"
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """SRCC of each."""
        frame = _srcc_dots(tables["linear"], tables["linear"]["method"])
        label = record["dataset"]["label"]
        _dots(
            folder, "linear", frame, f"SRCC with {label}, 95 % interval", "Linear fusion as a ceiling", record
        )


def _rows(table: pd.DataFrame) -> pd.MultiIndex:
    """A name for each row: the image, and which of its rows it is."""
    return pd.MultiIndex.from_arrays([table["image"], table.groupby("image").cumcount()])


@dataclass(frozen=True)
class Align:
    """AGIQA-3K's two labels: perceptual quality, and fit to the prompt."""

    name: str = "align"

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``align``: SRCC of each score with both labels, and the paired difference."""
        if study.features.labels.name != "agiqa3k":
            raise Lacking(
                f"dataset {study.features.labels.name} has no mos_align; use dataset=agiqa3k dataset.root=DIR"
            )
        if study.job.bundle:
            raise UserError(
                "experiment=align needs the data set's own annotation, a bundle holds one label only"
            )
        both = {
            c: replace(study.job.dataset, label_column=c).load().table for c in ("mos_quality", "mos_align")
        }
        labels = {c: t.set_index(_rows(t))["mos"] for c, t in both.items()}
        keys = _rows(study.features.table)
        y = {c: v.loc[keys].to_numpy(float) for c, v in labels.items()}
        scores = {**study.cues()[list(CUES)], "laplacian": study.features.controls["laplacian"]}
        matrix = np.stack([np.asarray(v, float) for v in scores.values()])
        counts = resample_counts(len(keys), study.clusters, None, study.job.resamples, study.job.seed)
        point = {c: point_many("srcc", matrix, v) for c, v in y.items()}
        draws = {c: bootstrap_many("srcc", matrix, v, counts) for c, v in y.items()}
        rows = []
        for i, name in enumerate(scores):
            row: dict[str, Any] = {"score": name, "n": len(keys)}
            for c in y:
                row[c] = point[c][i]
                row[f"{c}_low"], row[f"{c}_high"] = study.band(draws[c][i])
            a, b = "mos_quality", "mos_align"
            rows.append(row | _row(study, point[a][i] - point[b][i], draws[a][i] - draws[b][i]))
        with_each_other = point_many("srcc", y["mos_quality"][None], y["mos_align"])[0]
        return {"align": _with_holm(rows)}, [
            f"SRCC of the two labels with each other {with_each_other:+.4f}; diff: quality less align"
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """SRCC with both labels."""
        t = tables["align"]
        parts = [
            pd.DataFrame(
                {"name": t["score"], "value": t[c], "low": t[f"{c}_low"], "high": t[f"{c}_high"], "series": c}
            )
            for c in ("mos_quality", "mos_align")
        ]
        _dots(
            folder,
            "align",
            pd.concat(parts, ignore_index=True),
            "SRCC, 95 % interval",
            "Quality and alignment",
            record,
        )


@dataclass(frozen=True)
class Raters:
    """What the raters' own noise allows: the ceiling of SRCC, and the image pairs that they can tell apart.

    Args:
        ratings: how many ratings a label averages. 1 where the data set's standard deviation is the MOS's own error.
    """

    name: str = "raters"
    ratings: float | None = None

    def __post_init__(self) -> None:
        n = self.ratings
        if n is not None and (isinstance(n, bool) or not isinstance(n, int | float) or not 1 <= n < np.inf):
            raise UserError(f"experiment.ratings={n} must be a number from 1")

    def tables(self, study: Study) -> tuple[Tables, list[str]]:
        """``ceiling`` and ``pairs`` (Krasula et al.)."""
        study.need("mos_std")
        if self.ratings is None:
            raise UserError(
                "experiment.ratings is not set: add experiment.ratings=N, how many ratings a label averages"
            )
        std = study.features.table["mos_std"].to_numpy(float)
        ceiling = noise_ceiling(study.y, std, self.ratings, seed=study.job.seed)
        cues = study.cues()
        controls = study.features.controls["laplacian"].to_numpy(float)
        rows = []
        for name, x in (*((c, cues[c].to_numpy()) for c in CUES), ("laplacian", controls)):
            found = krasula(x, study.y, std, self.ratings, clusters=study.clusters, seed=study.job.seed)
            values = asdict(found)
            band = {f"ordered_rightly_{s}": values.pop(f"ci_{s}") for s in ("low", "high")}
            rows.append({"score": name} | values | band)
        return {"ceiling": pd.DataFrame([asdict(ceiling)]), "pairs": pd.DataFrame(rows)}, [
            f"{self.ratings} ratings a label; ceiling: SRCC of a predictor that knows each image's true mean opinion"
        ]

    def draw(self, folder: Path, tables: Tables, record: dict[str, Any]) -> None:
        """Share of told-apart pairs ordered rightly."""
        t = tables["pairs"]
        sides = {f"ordered_rightly_{s}": s for s in ("low", "high")}
        frame = t.rename(columns={"score": "name", "ordered_rightly": "value"} | sides)
        _dots(
            folder,
            "pairs",
            frame,
            "share of told-apart pairs ordered rightly",
            "Pairs that raters tell apart",
            record,
        )


def folder_of(job: Job, name: str) -> Path:
    """Where an experiment's results go."""
    if job.out:
        return Path(job.out).expanduser()
    return Path("results/experiments") / f"{name}-{job.name}"


def run(job: Job, compose: Compose | None = None, *, progress: bool = True) -> str:
    """Run ``job.experiment``: tables as CSV, figures, ``record.json``; returns what to print.

    Raises:
        UserError: no experiment chosen; what the data set lacks.
    """
    experiment = job.experiment
    if experiment is None:
        raise UserError("experiment is not set: add experiment=NAME, one of the options that --help lists")
    study = Study(job, compose, Clock(), progress)
    folder = folder_of(job, experiment.name)
    make_folder(folder, f"experiment experiment={experiment.name}")
    tables, notes = experiment.tables(study)
    files = [f"{name}.csv" for name in tables]
    make_folder(folder, files=files)
    record = {
        "magiqa": __version__,
        "command": "experiment",
        "name": f"{experiment.name}-{job.name}",
        "choices": study.job.choices,
        "config": study.job.config,
        **study.features.record,
        "experiment": {"name": experiment.name, "notes": notes},
        "versions": versions(),
        "warnings": study.clock.warnings,
    }
    with writing(folder, files) as write:
        for name, table in tables.items():
            write_csv(table, folder / f"{name}.csv")
        write(record | {"seconds": study.clock.seconds})
        if job.figures:
            (folder / "figures").mkdir(exist_ok=True)
            experiment.draw(folder / "figures", tables, record)
            write(record | {"seconds": study.clock.seconds})
    return render(tables, notes, record) + f"\n\n{folder}/: {', '.join(f'{n}.csv' for n in tables)}"


def render(tables: Tables, notes: Sequence[str], record: dict[str, Any]) -> str:
    """Tables with their intervals in brackets, the notes below."""
    data, bone = record["dataset"], record["backbone"]
    label = f" ({bone['label']})" if bone["label"] else ""
    name = " ".join(filter(None, (data["name"], data["variant"])))
    lines = [
        f"experiment {record['experiment']['name']}: {name}, n={data['n']}, label {data['label']}; "
        f"{bone['name']}{label}"
        "; 95 % bootstrap intervals" + (f", resampled by {data['cluster']}" if data["cluster"] else "")
    ]
    for title, table in tables.items():
        sides = {f"{c}_{s}" for c in table for s in ("low", "high") if f"{c}_{s}" in table} | {
            "ci_low",
            "ci_high",
        }
        shown = [c for c in table if c not in sides]
        rows = [[str(c) for c in shown]]
        for row in table.to_dict("records"):
            cells = []
            for c in shown:
                value, low, high = row[c], row.get(f"{c}_low"), row.get(f"{c}_high")
                if isinstance(value, float):
                    text = "-" if np.isnan(value) else f"{value:.4f}"
                    text += "" if low is None or np.isnan(low) else f" [{low:.3f}, {high:.3f}]"
                else:
                    text = str(value)
                cells.append(text)
            rows.append(cells)
        widths = [max(len(r[i]) for r in rows) for i in range(len(shown))]
        lines += [
            "",
            title,
            *("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in rows),
        ]
    return "\n".join([*lines, "", *notes, *(f"warning: {w}" for w in record["warnings"])])

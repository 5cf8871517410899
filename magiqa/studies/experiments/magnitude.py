"""Definitions of the magnitude cue beside their rivals, and its dependence on content."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.method.cues import BoxCox, Plain
from magiqa.method.rivals import DIRECTIONS, Rival, entropy, participation
from magiqa.report.words import SCORES, group_word, option_name
from magiqa.runs.config import Magnitude
from magiqa.scoring.score import score_all
from magiqa.stats.correlation import NAN, ranks
from magiqa.stats.family import freedom, quantile, standard_error
from magiqa.stats.sampled import Sampled
from magiqa.studies.ablation import override
from magiqa.studies.experiments.study import Figure, Findings, Study, check_distinct, long

SHAPES = {
    "entropy": entropy,
    "participation": participation,
}  # no theory gives their direction: signed, never fused


@dataclass(frozen=True)
class Magnitudes(Checked, key="experiment"):
    """Each definition of magnitude and its rivals: agreement with MOS, what is new in it, and its null.

    Args:
        seeds: of the untrained networks. definitions: options of ``magnitude``.
        statistics_from: a folder of undistorted images; with it the cues that compare with reference images take part.
    """

    name: str = "magnitude"
    seeds: tuple[Annotated[int, Least(0)], ...] = (0, 1, 2)
    definitions: tuple[str, ...] = ("boxcox", "boxcox_raw", "l1", "l2", "max", "std", "mean")
    statistics_from: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("seeds", self.seeds)
        check_distinct("definitions", self.definitions)

    def tables(self, study: Study) -> Findings:
        """``magnitude``: a row a definition; ``redundancy``: SRCC of each two definitions."""
        study.from_images("untrained networks")
        job, bone = study.job, study.job.method.backbone
        if bone.untrained in self.seeds:
            raise UserError(
                f"experiment.seeds: {bone.untrained} is the network that is compared with them (backbone.untrained); "
                "use other seeds"
            )
        print(
            f"note: {len(self.seeds)} untrained networks encode {len(job.source.dataset.load().table):,} images each: "
            f"about {len(self.seeds)} times as long as encoding with the network itself; features are cached",
            file=sys.stderr,
            flush=True,
        )
        if not self.statistics_from:
            study.clock.warnings.append(
                "no experiment.statistics_from=FOLDER: whitened, conformity and mahalanobis are left out"
            )
        cues = self._cues(study)
        jobs = [job.having(magnitude=cue) for cue in cues.values()]
        features, matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)
        nulls = []
        for seed in self.seeds:
            null = replace(bone, pretrained=None, checkpoint=None, label=None, untrained=seed)
            jobs_of = [j.having(backbone=null) for j in jobs]
            nulls.append(score_all(jobs_of, study.clock, "q_mag", progress=study.progress)[1])
        similarity = study.cues()["q_sim"].to_numpy(float)
        fused = {name: j for (name, cue), j in zip(cues.items(), jobs, strict=True) if _fits(cue)}
        q = score_all(list(fused.values()), study.clock, "q", progress=study.progress)[1]
        table = self._table(study, list(cues), matrix, nulls, similarity, dict(zip(fused, q, strict=True)))
        alike = pd.DataFrame(matrix.T, columns=list(cues)).corr("spearman")
        redundancy = alike.rename_axis("definition").reset_index()
        if "reference" in features.record:
            study.features.record["reference"] = features.record["reference"]
        return (
            {"magnitude": table, "redundancy": redundancy},
            self._notes(),
            {"magnitude": _figure(study, table)},
        )

    def _cues(self, study: Study) -> dict[str, Magnitude]:
        """Return the definitions by name, and the rivals that can be had."""
        cues: dict[str, Magnitude] = {
            d: override(study.job, {"magnitude": d}, study.compose).method.magnitude for d in self.definitions
        }
        if self.statistics_from:
            cues |= {kind: Rival(kind, self.statistics_from) for kind in DIRECTIONS}
        return cues | SHAPES

    def _table(
        self,
        study: Study,
        names: list[str],
        matrix: np.ndarray,
        nulls: list[np.ndarray],
        similarity: np.ndarray,
        fused: Mapping[str, np.ndarray],
    ) -> pd.DataFrame:
        """Return a row a definition, then the controls."""
        controls = study.features.controls[["laplacian", "bytes"]].to_numpy(float).T
        given = np.column_stack([*controls, similarity])
        rows = []
        for i, name in enumerate(names):
            row: dict[str, Any] = {"definition": name, "n": len(study.y)}
            own = study.srcc(np.stack([matrix[i], *(null[i] for null in nulls)]))
            row |= _banded(study, "srcc", own[[0]])
            row |= _banded(study, "partial", study.sampling.partial(matrix[i], study.y, given))
            if name in fused:
                pair = study.srcc(np.stack([fused[name], similarity]))
                gain = pair[[0]] - pair[[1]]
                low, high = (NAN, NAN) if study.sampling.too_few() else gain.intervals()[0]
                row |= {"gain": gain.values[0], "gain_low": low, "gain_high": high}
            row["untrained"] = float(own.values[1:].mean())
            rows.append(row | excess(own[[0]], own[1:], study.sampling.too_few()))
        for name, x in zip(("laplacian", "bytes", "q_sim"), given.T, strict=True):
            rows.append({"definition": name, "n": len(study.y)} | _banded(study, "srcc", study.srcc(x[None])))
        return pd.DataFrame(rows)

    def _notes(self) -> list[str]:
        return [
            "magnitude: partial SRCC: given the Laplacian variance, file size and the similarity cue",
            "magnitude: gain: SRCC of the fused score minus that of the similarity cue, only for definitions that the "
            "fusion accepts",
            f"magnitude: untrained: mean SRCC of {len(self.seeds)} untrained networks; difference: SRCC minus that",
        ]  # fmt: skip


def _fits(cue: Magnitude) -> bool:
    """Tell whether a cue is on the scale of q_sim, so that fusing it means something."""
    return not isinstance(cue, Plain) and cue not in SHAPES.values() and getattr(cue, "standardize", True)


def _banded(study: Study, name: str, statistic: Sampled) -> dict[str, Any]:
    """Return a statistic with its interval as columns."""
    ((low, high),) = study.bands(statistic)
    return {name: statistic.values[0], f"{name}_low": low, f"{name}_high": high}


def _figure(study: Study, table: pd.DataFrame) -> Figure:
    """Return the figure that answers which magnitude."""
    series = {
        "srcc": "SRCC",
        "partial": "partial SRCC",
        "untrained": "untrained networks",
        "gain": "gain in fusion",
    }
    frame = long(table, series, name=table["definition"].map(lambda d: SCORES.get(d, option_name(d))))
    caption = (
        "SRCC of the magnitude cue by its definition and of its rivals; partial SRCC given sharpness, file size and "
        "similarity; mean SRCC of untrained networks; gain in SRCC of the fused score. Bars: 95 % intervals."
    )
    return Figure(caption, frame, {"xlabel": f"SRCC with {study.label}"})


def excess(method: Sampled, nulls: Sampled, few: str = "") -> dict[str, Any]:
    """Return a statistic less its mean over untrained networks of S seeds, signed, with a 95 % interval.

    The seeds are a sample: their spread is part of the variance, beside that of the images. Degrees of freedom by
    Satterthwaite.

    Args:
        method: of one row. nulls: of S rows, on the same images. few: the reason why there is no interval.
    """
    seeds = len(nulls.values)
    difference = method - nulls.mix(np.full((1, seeds), 1 / seeds))
    value, sampled = float(difference.values[0]), float(standard_error(difference.parts)[0]) ** 2
    row = {"diff": value, "diff_low": NAN, "diff_high": NAN, "withheld": few}
    if not few and seeds < 2:
        row["withheld"] = "one seed: nothing says how seeds differ"
    elif not few:
        between = float(np.var(nulls.values, ddof=1)) / seeds
        below = sampled**2 / float(freedom(difference.parts)[0]) + between**2 / (seeds - 1)
        if not below > 0:
            return row | {"withheld": "never differs"}
        half = float(quantile(np.array((sampled + between) ** 2 / below))) * float(np.sqrt(sampled + between))
        row |= {"diff_low": value - half, "diff_high": value + half}
    return row


CONTENT = {"reference": "reference images", "prompt": "prompts", "group": "groups"}


@dataclass(frozen=True)
class Bias(Checked, key="experiment"):
    """The share of magnitude's variance that lies between images of different content, before and after Box-Cox.

    Content is what images share: their reference or prompt; where no such thing is shared, the generator or
    distortion type. A share is no proof of semantics: contents differ in quality too, and a label that holds raters'
    noise does not take all of it out.
    """

    name: str = "bias"
    lams: tuple[float, ...] = (1.0, 0.5, 0.0, -1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("lams", self.lams)

    def tables(self, study: Study) -> Findings:
        """``bias``: the share of content in the variance of each cue's ranks, as is and given MOS, with its p."""
        by, content = _content(study)
        groups = study.sampling.groups if by != "group" else None
        jobs, names = [], []
        for standardized, lam in product((True, False), self.lams):
            jobs.append(study.job.having(magnitude=BoxCox(float(lam), standardized)))
            what = "before Box-Cox" if lam == 1 else f"λ = {lam:g}"
            names.append((what, "standardized |f|" if standardized else "raw |f|"))
        matrix = score_all(jobs, study.clock, "q_mag", progress=study.progress)[1]
        within = [] if groups is None else [groups]
        rows = []
        for (what, kind), x in zip([*names, (study.label, "–")], [*matrix, study.y], strict=True):
            share, p = content_share(x, content, within)
            row: dict[str, Any] = {"cue": what, "of": kind, "by": by, "share": share, "p": p}
            if kind != "–":
                row["share_given_label"], row["p_given_label"] = content_share(x, content, within, study.y)
            rows.append(row | {"contents": len(set(content)), "n": len(content)})
        table = pd.DataFrame(rows)
        series = {"share": "share", "share_given_label": f"given {study.label}"}
        frame = long(table, series, name=table["of"] + ", " + table["cue"])
        caption = (
            f"Share of {CONTENT[by]} in the variance of ranks of the magnitude cue and of {study.label}, corrected for "
            f"chance. Given {study.label}: of what its rank does not explain."
        )
        figure = Figure(
            caption,
            frame,
            {"xlabel": f"Share of {CONTENT[by]}"},
        )
        notes = [
            f"contents: {len(set(content))} {CONTENT[by]}"
            + ("" if groups is None else f", within {group_word(study.facts['dataset'])}s")
            + "; share: partial epsilon squared, which is 0 on average where content plays no role; p: F test",
            f"contents differ in {study.label} too: its own row",
        ]
        return {"bias": table}, notes, {"bias": figure}


def _content(study: Study) -> tuple[str, np.ndarray]:
    """Return the column that says what images show, where they share it (reference, prompt), else the groups.

    Raises:
        Lacking: the data set has none of these.
    """
    for name in ("reference", "prompt"):
        names = study.column(name)
        if names is not None and 1 < len(set(names)) <= len(names) / 2:
            return name, names
    return "group", study.need("group")


def content_share(
    values: Any, content: Any, within: Sequence[Any] = (), given: Any = None
) -> tuple[float, float]:
    """Return the share of variance of the ranks of values (N,) that content explains, and p of its F test.

    The share is partial ε² (Kelley 1935): 0 on average without a dependence, at most 1.

    Args:
        content: (N,) names. within: (N,) names of what is crossed with content. given: (N,) a number, whose rank is
            taken out first.

    Example:
        >>> share, p = content_share([1, 2, 3, 11, 12, 13], ["a", "a", "a", "b", "b", "b"])
        >>> round(share, 2), round(p, 3)
        (0.71, 0.021)
    """
    y = ranks(np.asarray(values, float))
    base = [np.ones(len(y)), *([] if given is None else [ranks(np.asarray(given, float))])]
    base += [column for names in within for column in pd.get_dummies(names, dtype=float).to_numpy().T]
    design = np.column_stack(base)
    before, rank = _left(design, y)
    after, full = _left(np.column_stack([design, pd.get_dummies(content, dtype=float)]), y)
    between, inside = full - rank, len(y) - full
    if between < 1 or inside < 1 or after <= 1e-12 * len(y):
        return NAN, NAN
    ratio = (before - after) / between / (after / inside)
    return float(1 - after / inside / (before / (len(y) - rank))), float(
        f_distribution.sf(ratio, between, inside)
    )


def _left(design: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """Return the sum of squares that a linear model leaves, and its rank."""
    solution, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    return float(np.square(y - design @ solution).sum()), int(rank)

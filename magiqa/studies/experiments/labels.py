"""Experiments on labels: none (pristine against distorted images), a few (fitted predictors), and the raters' noise."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd

from magiqa.checked import Checked, Least
from magiqa.errors import UserError
from magiqa.features.images import Features
from magiqa.features.source import open_source
from magiqa.images.decode import images_in
from magiqa.package import expanded
from magiqa.report.study_exhibits import worded
from magiqa.report.words import AXES, SCORES
from magiqa.runs.read import CONTROLS
from magiqa.scoring.score import score
from magiqa.stats.agreement import random_parts
from magiqa.stats.correlation import srcc
from magiqa.stats.raters import krasula
from magiqa.stats.sampled import auroc_interval
from magiqa.stats.sampling import Sampling
from magiqa.studies.experiments.study import CUES, Figure, Findings, Lacking, Study, check_distinct, long

ALPHAS = 10.0 ** np.arange(-1, 6)  # of the ridge, chosen by leave-one-out


@dataclass(frozen=True)
class Pristine(Checked, key="experiment"):
    """Reference images against their distortions: AUROC of each score, and its SRCC with the distortion level."""

    name: str = "pristine"

    def tables(self, study: Study) -> Findings:
        """``pristine``: a row a score: AUROC, and mean SRCC with the level within reference and type."""
        names, levels = study.need("reference"), study.features.table.get("level")
        scores = _scores(study, study.features)
        undistorted = np.zeros(len(names), bool) if levels is None else (levels == 0).to_numpy()
        if undistorted.any():
            pristine = scores[undistorted].assign(reference=names[undistorted]).drop_duplicates("reference")
        else:
            pristine = _references(study, names)
        present = np.isin(names, pristine["reference"]) & ~undistorted
        order = pd.Index(pristine["reference"])
        units, of = np.arange(len(order)), order.get_indexer(names[present])
        rows = []
        for name in scores:
            own, others = pristine[name].to_numpy(float), scores[name].to_numpy(float)
            value, low, high = auroc_interval(own, others[present], units, of)
            row = {"score": name, "references": len(order), "distorted": int(present.sum())}
            row |= {"auroc": value, "auroc_low": low, "auroc_high": high}
            if levels is not None:
                row |= level_srcc(others, levels.to_numpy(float), names, study.column("group"))
            rows.append(row)
        table = pd.DataFrame(rows)
        shown = table["score"].map(SCORES)
        caption = (
            "AUROC of reference images against their distortions. No skill is 0.5. Bars: 95 % intervals."
        )
        options = {"xlabel": "AUROC, pristine against distorted", "zero": 0.5}
        figures = {"auroc": Figure(caption, _frame(table, "auroc", shown), options)}
        if "srcc_level" in table:
            caption = (
                "Mean SRCC with the level within reference and type (-1 is right). Bars: 95 % intervals."
            )
            options = {"xlabel": "SRCC with the distortion level"}
            figures["levels"] = Figure(caption, _frame(table, "srcc_level", shown), options)
        notes = [
            "AUROC: share of pairs (reference, distorted) in which the reference image scores higher",
            "SRCC with level: mean SRCC over references and distortion types; -1 is best",
        ]
        return {"pristine": table}, notes[: len(figures)], figures


def _frame(table: pd.DataFrame, column: str, names: pd.Series) -> pd.DataFrame:
    return long(table, {column: ""}, name=names).drop(columns="series")


def _scores(study: Study, features: Features) -> pd.DataFrame:
    """Return the cues and controls of each image."""
    return pd.concat(
        [score(features, study.job.method)[list(CUES)], features.controls[list(CONTROLS)]], axis=1
    )


def _references(study: Study, names: np.ndarray) -> pd.DataFrame:
    """Return the scores of the reference images, which lie below the data set's root under their names.

    Raises:
        Lacking: fewer than three do.
    """
    study.from_images("reference images")
    features, root = study.features, study.job.source.dataset.root
    annotated, twice = set(features.labels.table["path"]), dict[str, str]()
    files: dict[str, str] = {}
    for path in images_in(expanded(root), recursive=True):
        if path not in annotated and (other := files.setdefault(Path(path).stem.casefold(), path)) != path:
            twice.setdefault(Path(path).stem.casefold(), f"{other} and {path}")
    wanted = {name: Path(name).stem.casefold() for name in dict.fromkeys(names)}
    if both := next((twice[stem] for stem in wanted.values() if stem in twice), None):
        raise UserError(f"reference image {both}: one name, two files; keep one of them below {root}")
    paths = {name: files[stem] for name, stem in wanted.items() if stem in files}
    if len(paths) < 3:
        raise Lacking(
            f"dataset {features.labels.name}: {len(paths)} of {len(wanted)} reference images lie below "
            f"dataset.root={root}; put them there, under their names"
        )
    if missing := len(wanted) - len(paths):
        study.clock.warnings.append(
            f"{missing} of {len(wanted)} reference images are not below {root}: they and their distortions are left out"
        )
    table = pd.DataFrame({"image": list(paths), "path": list(paths.values()), features.labels.label: 0.0})
    labels = replace(features.labels, table=table)
    source = open_source(study.job, study.clock, progress=study.progress)
    own = source.features(labels, source.images(labels), source.weights())
    return _scores(study, own).assign(reference=own.table["image"].to_numpy())


def level_srcc(
    x: np.ndarray, levels: np.ndarray, names: np.ndarray, groups: np.ndarray | None
) -> dict[str, float]:
    """Return the mean over references of SRCC with the level within each distortion type of three levels or more."""
    table = pd.DataFrame(
        {"x": x, "level": levels, "reference": names, "group": "" if groups is None else groups}
    )
    chains = [
        (reference, srcc(part["x"].to_numpy(), part["level"].to_numpy()))
        for (reference, _), part in table.groupby(["reference", "group"])
        if part["level"].nunique() > 2
    ]
    means = pd.DataFrame(chains, columns=["reference", "srcc"]).groupby("reference")["srcc"].mean().dropna()
    if not len(means):
        return {}
    mean = Sampling(len(means)).mean(means.to_numpy(), np.arange(len(means)))
    ((low, high),) = mean.intervals()
    row = {"srcc_level": float(mean.values[0]), "srcc_level_low": low, "srcc_level_high": high}
    return row | {"level_references": len(means)}


@dataclass(frozen=True)
class FewLabels(Checked, key="experiment"):
    """A linear map of the cues and ridge on the feature, fitted on a few labels of other references, beside zero-shot.

    Args:
        labels: how many images are fitted on. repeats: draws. share: of the references (or prompts, or images) that
            are tested on, in each draw.
    """

    name: str = "few_labels"
    labels: tuple[Annotated[int, Least(3)], ...] = (20, 50, 100, 200)
    repeats: Annotated[int, Least(2)] = 20
    share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_distinct("labels", self.labels)
        if not 0 < self.share < 1:
            raise UserError(f"experiment.share={self.share} must lie between 0 and 1")

    def tables(self, study: Study) -> Findings:
        """``few_labels``: mean and standard deviation of SRCC over draws, a row a predictor and number of labels."""
        cues, y, seed = study.cues(), study.y, study.job.statistics.seed
        pair, features = cues[["q_sim", "q_mag"]].to_numpy(), image_features(study)
        rng, values = np.random.default_rng(seed), []
        for test in random_parts(study.sampling.unit, self.repeats, self.share, seed):
            pool = rng.permutation(np.setdiff1d(np.arange(len(y)), test))
            for k in self.labels:
                fit = pool[:k]
                if len(fit) < k:
                    raise Lacking(
                        f"experiment.labels: {k} labels, but {len(pool)} images are left to fit on; use fewer labels"
                    )
                predicted = {cue: cues[cue].to_numpy()[test] for cue in CUES}
                predicted["cues"] = linear(pair[fit], y[fit], pair[test])
                predicted["feature"] = ridge(features[fit], y[fit], features[test])
                values += [(name, k, srcc(x, y[test])) for name, x in predicted.items()]
        raw = pd.DataFrame(values, columns=["predictor", "labels", "srcc"])
        table = raw.groupby(["predictor", "labels"], sort=False)["srcc"].agg(["mean", "std"]).reset_index()
        made = {"choices": study.job.choices, "changed": study.job.changed, "config": study.job.config}
        words = AXES | {
            "q": worded(SCORES["q"], made),
            "cues": "Linear map of cues",
            "feature": "Ridge regression on image features",
        }
        frame = pd.DataFrame(
            {"x": table["labels"], "value": table["mean"], "series": table["predictor"].map(words)}
        )
        frame = frame.assign(low=table["mean"] - table["std"], high=table["mean"] + table["std"])
        caption = (
            f"SRCC on {self.share * 100:.0f} % of the {study.features.labels.cluster or 'image'}s, mean of "
            f"{self.repeats} draws. Map and ridge are fitted on images of the others. Bands: one standard deviation "
            "over draws."
        )
        options = {"xlabel": "Number of training labels", "ylabel": f"SRCC with {study.label}"}
        notes = [
            f"mean and std: over {self.repeats} draws, whose test parts overlap: no confidence interval",
            *(f"{words[p]}: {_worth(table, p)}" for p in ("cues", "feature")),
            "predictors that are fitted on labels are not training-free",
        ]
        return {"few_labels": table}, notes, {"few_labels": Figure(caption, frame, options, "curves")}


def _worth(table: pd.DataFrame, predictor: str) -> str:
    """Tell from how many labels on a predictor reaches zero-shot q."""
    mean = table.set_index(["labels", "predictor"])["mean"].unstack()  # noqa: PD010 (nothing to aggregate)
    enough = mean.index[mean[predictor] >= mean["q"]]
    return f"reaches zero-shot q with {enough[0]} labels" if len(enough) else "does not reach zero-shot q"


def image_features(study: Study) -> np.ndarray:
    """Return the mean feature of each image's views (N, D)."""
    features = study.features
    out: Any = None
    for owner, rows in features.cache.blocks(features.images):
        out = np.zeros((len(features.images), rows.shape[1])) if out is None else out
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        counts = np.diff(np.append(starts, len(owner)))[:, None]
        out[owner[starts]] = np.add.reduceat(rows.astype(np.float64), starts) / counts
    return np.asarray(out)


def linear(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the least-squares predictions of new rows (M, C) from rows (K, C) and labels (K,)."""
    design = np.column_stack([np.ones(len(x)), x])
    weights = np.linalg.lstsq(design, y, rcond=None)[0]
    return np.asarray(weights[0] + new @ weights[1:])


def ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the ridge predictions of new rows (M, D) from rows (K, D) and labels (K,).

    Columns are standardized by those rows. Of `ALPHAS`, the one with the least squared leave-one-out error counts.
    """
    center, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    z, target = (x - center) / spread, y - y.mean()
    values, vectors = np.linalg.eigh(z @ z.T)
    inverses = [(vectors / (np.maximum(values, 0) + alpha)) @ vectors.T for alpha in ALPHAS]
    errors = [np.square(inverse @ target / np.diag(inverse)).sum() for inverse in inverses]
    weights = z.T @ (inverses[int(np.argmin(errors))] @ target)
    return np.asarray(y.mean() + (new - center) / spread @ weights)


@dataclass(frozen=True)
class Raters(Checked, key="experiment"):
    """The image pairs that raters tell apart, and the order that each method gives them.

    Args:
        ratings: how many ratings a label averages. 1 where the data set's standard deviation is the MOS's own error.
            Not needed where the data set has a column ``ratings``, the number of each image.
        level: of the test that tells two images apart; 0.90 two-sided is the threshold of Krasula et al.'s own code.
    """

    name: str = "raters"
    ratings: Annotated[float, Least(1)] | None = None
    level: float = 0.90

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.level < 1:
            raise UserError(f"experiment.level={self.level} must lie between 0 and 1")

    def tables(self, study: Study) -> Findings:
        """``pairs`` (Krasula et al.)."""
        study.need("mos_std")
        table, ratings = study.features.table, self.ratings
        if ratings is None:
            if "ratings" not in table:
                raise Lacking(
                    "experiment.ratings is not set: add experiment.ratings=N, how many ratings a label averages"
                )
            ratings = table["ratings"].to_numpy(float)
        std = table["mos_std"].to_numpy(float)
        many = " to ".join(f"{n:g}" for n in sorted({np.min(ratings), np.max(ratings)}))
        scores = study.cues()[list(CUES)].assign(
            laplacian=study.features.controls["laplacian"].to_numpy(float)
        )
        seed, rows = study.job.statistics.seed, []
        for name, x in scores.items():
            pairs = krasula(x, study.y, std, ratings, study.sampling, seed=seed, level=self.level)
            rows.append({"score": name} | asdict(pairs))
        bounds = {f"ci_{side}": f"ordered_rightly_{side}" for side in ("low", "high")}
        table = pd.DataFrame(rows).rename(columns=bounds)
        caption = (
            "Share of image pairs that a score orders as raters do, among pairs that raters tell apart "
            f"(p < {1 - self.level:.2g}, {many} ratings). No skill is 0.5. Bars: 95 % intervals."
        )
        frame = long(table, {"ordered_rightly": ""}, name=table["score"].map(SCORES)).drop(columns="series")
        options = {"xlabel": "Share of pairs ordered rightly", "zero": 0.5}
        note = f"{many} ratings an image; told apart at {self.level:g} two-sided"
        return {"pairs": table}, [note], {"pairs": Figure(caption, frame, options)}

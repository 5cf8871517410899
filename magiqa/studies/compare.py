"""Paired tests of a run with other runs, or with any scores of the same images: ``magiqa compare``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.datasets.base import occurrences
from magiqa.errors import UserError
from magiqa.package import expanded
from magiqa.report.console import screen
from magiqa.report.gallery import image_paths
from magiqa.report.table import Table, frame_table
from magiqa.report.words import set_line, short_label
from magiqa.runs.external_scores import EXTERNAL, Metric, check_direction, external_scores
from magiqa.runs.folder import ResultFolder, command_of
from magiqa.runs.read import CONTROLS, CUES, Run, read_run
from magiqa.runs.record import RunRecord, versions
from magiqa.stats.correlation import bins
from magiqa.stats.paired import compare as paired_tests
from magiqa.stats.sampling import TESTED, WITHIN, Sampling

GMAD_LEVELS = 5  # bins of the score of the method that calls images equal

COMPARED = ("q", "q_sim", "q_mag", *CONTROLS)


def _from_run(folder: Path, score: str, base: pd.DataFrame, label: str) -> tuple[np.ndarray, RunRecord]:
    """Return the scores of another run in the order of the first one's images, and its record."""
    scores, record = read_run(folder)
    if record.dataset.label != label:
        raise UserError(
            f"{folder}: its label is {record.dataset.label}, the first run's {label}; compare like with like"
        )
    images, own = occurrences(base["image"]), occurrences(scores["image"])
    if odd := sorted(set(images) ^ set(own)):
        raise UserError(
            f"{folder}: {len(odd)} images are in one of the two runs only (first {odd[0][0]}); a paired test needs the "
            "same images"
        )
    scores = scores.set_index(pd.Index(own)).loc[images]
    wrong = np.flatnonzero(scores[label].to_numpy(float) != base[label].to_numpy(float))
    if len(wrong):
        raise UserError(
            f"{folder}: {label} differs from the first run's for {len(wrong)} images (first "
            f"{images[wrong[0]][0]}); compare runs on the same labels"
        )
    return scores[score].to_numpy(float), record


def compare(
    run: str | Path,
    others: Sequence[str | Path] = (),
    *,
    score: str = "q",
    out: str | Path | None = None,
    equivalence: float | None = None,
    gmad: str | Path | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Test every two methods on the same images, and store the tests.

    Args:
        run: the first run's folder, which gives images, labels and clusters. others: folders of runs, or CSV files
            of image,score (higher = better). None: the run's own cues and controls.
        score: which score of the runs. out: a folder; default inside the first run's.
        equivalence: differences within +- this do not matter: see `magiqa.stats.paired.differences`.
        gmad: a folder for the pairs of images on which two methods disagree most.

    Returns:
        A row a pair and statistic, tested alone and with all pairs of its statistic at once; and the record. Written as
        ``comparison.csv`` and ``record.json``, or ``comparison.json`` in a folder that holds another command's record.

    Raises:
        UserError: other images or labels, an image without a score.
    """
    if score not in COMPARED:
        raise UserError(f"score={score} is not known: use {', '.join(COMPARED)}")
    if gmad and len(others) != 1:
        raise UserError("gmad=DIR takes two methods: magiqa compare RUN OTHER gmad=DIR")
    first = expanded(run)
    folder = expanded(out) if out else first
    # the record of whatever else wrote into this folder stays
    name = "record.json" if command_of(folder) in (None, "compare") else "comparison.json"
    base, record = read_run(first)
    with ResultFolder(folder, "compare", ["comparison.csv"], record=name) as results:
        table, made, methods = _compare(first, base, record, others, score, equivalence)
        external = {m["name"]: methods[m["name"]] for m in made["methods"] if not m.get("score")}
        results.csv("comparison", table)
        if external:  # for the methods table of a report
            results.csv(EXTERNAL.removesuffix(".csv"), pd.DataFrame({"image": base["image"], **external}))
        made = results.record(made)
    if gmad:
        facts = {k: v for k, v in made.items() if k != "files"}
        write_gmad(expanded(gmad), Run(first.name, first, record, base, pd.DataFrame(), None), methods, facts)
    return table, made


def _compare(
    first: Path,
    base: pd.DataFrame,
    record: RunRecord,
    others: Sequence[str | Path],
    score: str,
    equivalence: float | None,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, np.ndarray]]:
    label = record.dataset.label
    y = base[label].to_numpy(float)
    methods: dict[str, np.ndarray] = {}
    about: list[dict[str, Any]] = []

    def add(name: str, values: np.ndarray, source: str, mark: str | None, **more: Any) -> None:
        shown = f"{name} ({mark})" if mark else name
        while shown in methods:
            shown += "'"
        methods[shown] = values
        about.append({"name": shown, "source": source, "note": "", **more})

    for own in [score] if others else COMPARED:
        mark = record.backbone.label if own in CUES else "control"
        name = f"{first.name} {own}" if others else own
        add(name, base[own].to_numpy(float), str(first), mark, score=own, **_made_with(record))
    for other in map(expanded, others):
        metric = Metric.of(other)
        if other.is_dir():
            values, its = _from_run(other, score, base, label)
            name = f"{other.name} {score}"
            add(name, values, str(other), its.backbone.label, score=score, **_made_with(its))
        elif metric.file.is_file():
            values, note = external_scores(metric, base["image"].tolist())
            check_direction(metric, values, y)
            add(metric.name, values, str(metric.file), None, note=note, choice=metric.choice)
        else:
            raise UserError(
                f"{other}: no such folder or file; give runs' folders or CSV files of image,score"
            )
    sampling = Sampling.of(base, record.dataset.cluster)
    tests = [
        paired_tests(methods, y, sampling, statistic=statistic, equivalence=equivalence)
        for statistic in TESTED
        if statistic != WITHIN or sampling.groups is not None
    ]
    made = {
        "magiqa": __version__,
        "command": "compare",
        "name": f"compare-{first.name}",
        "dataset": {k: v for k, v in record.dataset.plain().items() if k in _OF_SET},
        "versions": versions(record.given.get("config") or {}),
        "backbone": {"name": record.backbone.name, "label": record.backbone.label},
        "methods": about,
        "score": score,
        **({} if equivalence is None else {"equivalence": equivalence}),
    }
    return pd.concat(tests, ignore_index=True), made, methods


_OF_SET = (
    *("name", "variant", "n", "label", "cluster", "every", "notes", "resize", "skipped", "fingerprint"),
    "higher_is_better",
)


def _made_with(record: RunRecord) -> dict[str, Any]:
    """Return the part of a run's record that a reader must know of its scores."""
    config = record.given.get("config") or {}
    method = {k: config[k] for k in ("prompts", "views", "magnitude", "fusion", "pooling") if k in config}
    more = {k: record.given[k] for k in ("choices", "changed", "backbone", "engine") if k in record.given}
    return {**more, "config": method}


def render(table: pd.DataFrame, record: dict[str, Any]) -> str:
    """Return what ``magiqa compare`` prints: a block a statistic."""
    clusters, margin = record["dataset"]["cluster"], record.get("equivalence")
    head = [
        f"{set_line(record['dataset'])}; {record['backbone']['label'] or record['backbone']['name']}",
        "differences a - b on the same images; [95 % interval of each pair alone]"
        + (f", by {clusters}" if clusters else "")
        + "; p: adjusted for all pairs of a statistic",
        *([] if margin is None else [f"≈ equivalent: the simultaneous interval lies within ±{margin:g}"]),
        *(f"{m['name']}: {m['note']}" for m in record["methods"] if m["note"]),
    ]
    columns = {"value_a": "a", "value_b": "b", "diff": "a - b", "p_adjusted": "p"}
    label = f" ({record['backbone']['label']})"
    blocks: list[Table | str] = []
    for statistic, part in table.groupby("statistic", sort=False):
        names = (part["a"] + " - " + part["b"]).str.replace(label, "", regex=False)
        if margin is not None:
            names += np.where(part["equivalent"], " ≈", "")
        blocks.append(frame_table(part.assign(pair=names), {"pair": str(statistic), **columns}))
        if part["detectable"].notna().any():
            ends = dict.fromkeys(f"{x:.3f}" for x in (part["detectable"].min(), part["detectable"].max()))
            blocks.append(f"detectable difference (half the width of the interval): {' to '.join(ends)}")
    return screen(head, blocks)


def gmad_pairs(scores: Mapping[str, np.ndarray], levels: int = GMAD_LEVELS) -> pd.DataFrame:
    """Return pairs of images that one method calls equal and the other tells apart most (gMAD), both ways.

    Source: Ma et al., group maximum differentiation competition, IEEE TPAMI 2020.

    Args:
        scores: two methods' scores (N,). levels: bins of equal count of the method that calls images equal.

    Returns:
        defender, attacker, level (1 is the lowest), and the positions of the attacker's worst and best image there.
    """
    rows = []
    for defender, attacker in (list(scores), list(scores)[::-1]):
        for k, inside in enumerate(bins(scores[defender], levels)):
            if len(inside) > 1:
                own = scores[attacker][inside]
                worst, best = inside[int(np.argmin(own))], inside[int(np.argmax(own))]
                rows.append((defender, attacker, k + 1, int(worst), int(best)))
    return pd.DataFrame(rows, columns=["defender", "attacker", "level", "worst", "best"])


def write_gmad(folder: Path, run: Run, scores: Mapping[str, np.ndarray], record: Mapping[str, Any]) -> None:
    """Write ``gmad.csv`` and a contact sheet for each method that calls the images of a pair equal."""
    from magiqa.report.exhibit import write_captions
    from magiqa.report.image_rows import Tile, image_rows

    pairs, files = gmad_pairs(scores), image_paths(run)
    if any(files[i] is None for i in {*pairs["worst"], *pairs["best"]}):
        raise UserError(
            f"gmad={folder}: images of {run.folder} are not where its record says; run it again with their root"
        )
    with ResultFolder(folder, "compare gmad") as results:
        captions, label, mos = dict[str, str](), short_label(run.label), run.scores[run.label].to_numpy()
        table = pairs[["defender", "attacker", "level"]].copy()
        for side in ("worst", "best"):
            rows = pairs[side].to_numpy()
            table[side] = run.scores["image"].to_numpy()[rows]
            table[f"{side}_{run.label}"] = run.scores[run.label].to_numpy()[rows]
            for role in ("defender", "attacker"):
                table[f"{side}_{role}"] = [scores[m][i] for m, i in zip(pairs[role], rows, strict=True)]
        results.csv("gmad", table)
        with results.drawing(dict(record)) as figures:
            for k, (defender, part) in enumerate(pairs.groupby("defender", sort=False)):
                attacker = str(part["attacker"].iloc[0])
                captions[f"gmad-{k + 1}"] = (
                    f"Images that {defender} calls equal, from its lowest level (left) to its highest, and that "
                    f"{attacker} tells apart most: above its best, below its worst."
                )
                tiles = {
                    side: [Tile(str(files[i]), f"{label} {mos[i]:.3g}") for i in part[side]]
                    for side in ("best", "worst")
                }
                image_rows(figures / f"gmad-{k + 1}", tiles)
            write_captions(figures, captions)
        results.record({**record, "magiqa": __version__, "command": "compare gmad", "levels": GMAD_LEVELS})

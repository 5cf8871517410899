"""A report of runs and ablations: tables, figures, and one self-contained HTML page that loads nothing.

The page's style and script are `assets/report.css` and `assets/report.js`. Names of images and groups may hold
anything: text is escaped here, and set as text by the script.
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from magiqa import __version__
from magiqa.report.ablation_plots import ablation_figure
from magiqa.report.agreement_plots import run_figures
from magiqa.report.plots import COLORS, NAMES, caption, dots
from magiqa.report.tables import agreement_table, frame_table, groups_table, published_table
from magiqa.report.thumbnails import LARGE, data_uri, locate, make_tiles, thumbnail
from magiqa.report.typeset import MOST_ROWS, Cell, Table, write_tables
from magiqa.runs.folder import ResultFolder
from magiqa.runs.listed import files_of, read_listed
from magiqa.runs.names import CUES, backbone, dataset, slug
from magiqa.runs.read import Run, Sheet, long_table, read

MOST_SHOWN_ROWS = 2_000


def report(folders: Sequence[Path], out: Path, *, thumbnails: bool = True) -> list[Path]:
    """Write tables (CSV, Markdown, LaTeX), figures (PNG, PDF) and `report.html` for run and ablation folders.

    Args:
        folders: written by `magiqa evaluate` or `magiqa ablate`, or folders that hold such.
        out: where to write; made if missing.
        thumbnails: put small copies of the images into the page; False where these may not be published.

    Returns:
        The files written.

    Raises:
        UserError: nothing to report in a folder, a file that cannot be read, or `out` cannot be written.
    """
    out = Path(out).expanduser()
    runs, sheets = read([Path(folder).expanduser() for folder in folders])
    with ResultFolder(out, "report", ["report.html", "tables.tex"], record="report.json") as results:
        _report(runs, sheets, results, thumbnails)
        listed = results.record({"magiqa": __version__, "command": "report"})["files"]
    return [out / name for name in listed]


def _report(runs: Sequence[Run], sheets: Sequence[Sheet], results: ResultFolder, thumbnails: bool) -> None:
    page = _Page()
    tables: list[Table] = []
    if runs:
        main = agreement_table(runs)
        tables.append(main)
        page.part("agreement", "Agreement", _methods(runs, main, results))
        beside, refused = published_table(runs)
        tables += [beside] if beside else []
        page.part("published", "Published values", _published(beside, refused))
        store = _Images(runs, thumbnails)
        bodies = []
        for k, run in enumerate(runs):
            run_figures(results.figure_path(run.name), run.scores, run.agreement, run.groups, run.record)
            table = groups_table(run)
            tables += [table] if table else []
            bodies.append(_run(k, run, table, store))
        page.part("runs", "Runs", f'<p class="note">{_e(store.remark)}</p>' + "".join(bodies))
        page.data = store.data(runs)
    by_folder: dict[Path, list[Sheet]] = {}
    for sheet in sheets:
        by_folder.setdefault(sheet.file.parent, []).append(sheet)
    for anchor, title, ablation in (("ablations", "Ablations", True), ("more", "More results", False)):
        bodies = []
        for some in by_folder.values():
            if some[0].ablation == ablation:
                made, body = _result(some, results)
                tables += made
                bodies.append(body)
        if bodies:
            page.part(anchor, title, "".join(bodies))
    write_tables(tables, results)
    results.text("report.html", page.html(runs, sheets))


def _e(text: object) -> str:
    """Escaped text."""
    return html.escape(str(text), quote=True)


@dataclass
class _Page:
    """The page's parts, in order, and the script's data."""

    parts: list[tuple[str, str, str]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)

    def part(self, anchor: str, title: str, body: str) -> None:
        """Add a part."""
        self.parts.append((anchor, title, body))

    def html(self, runs: Sequence[Run], sheets: Sequence[Sheet]) -> str:
        """The whole page."""
        assets = Path(__file__).parent / "assets"
        records = [run.record for run in runs] + [sheet.record for sheet in sheets]
        records += [r["start"] for r in records if isinstance(r.get("start"), dict)]  # where a walk began
        labels = sorted({str(r["backbone"]["label"]) for r in records if r.get("backbone", {}).get("label")})
        flag = "".join(
            f'<p class="flag">Some numbers here come from weights that are <b>{_e(label)}</b>: they show that the '
            "machinery answers, and say nothing about published CLIP weights.</p>"
            for label in labels
        )
        folders = len(runs) + len({sheet.file.parent for sheet in sheets})
        empty: dict[str, Any] = {"runs": [], "sets": [], "tiles": None, "large": []}
        data = {"colors": list(COLORS), **empty, **self.data}
        # an escaped "<" can neither end the script element nor open a comment in it
        code = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        links = "".join(f'<li><a href="#{anchor}">{_e(title)}</a></li>' for anchor, title, _ in self.parts)
        sections = [
            f'<section id="{anchor}"><h2>{_e(title)}</h2>{body}</section>\n'
            for anchor, title, body in self.parts
        ]
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        return "\n".join(
            [
                "<!doctype html>",
                '<html lang="en">',
                "<head>",
                '<meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
                '<link rel="icon" href="data:,">',
                "<title>magiqa report</title>",
                f"<style>\n{(assets / 'report.css').read_text()}</style>",
                "</head>",
                "<body>",
                "<header><h1>magiqa report</h1>",
                f'<p class="soft">{folders} result folder{"s" * (folders != 1)}, magiqa {_e(__version__)}</p>',
                flag,
                f'<nav aria-label="Parts of this page"><ul>{links}</ul></nav>',
                '<noscript><p class="flag">Sorting, plots and gallery need JavaScript.</p></noscript>',
                "</header>",
                "<main>",
                *sections,
                "<footer>This page loads nothing from elsewhere.</footer>",
                "</main>",
                '<div id="tip" role="status" aria-live="polite" hidden></div>',
                f'<script type="application/json" id="data">{code}</script>',
                f"<script>\n{(assets / 'report.js').read_text()}</script>",
                "</body>",
                "</html>",
                "",
            ]
        )


def _table(table: Table) -> str:
    """A sortable table: each header a button; what a cell sorts by is in `data-v`."""
    names = [name for _, name in table.columns]
    numeric = [table.numeric(k) for k in range(len(names))]
    spans = "".join(
        f'<th class="span" scope="colgroup" colspan="{count}">{_e(group)}</th>'
        if group
        else f'<td colspan="{count}"></td>'
        for group, _, count in table.spans()
    )
    head = f"<tr>{spans}</tr>" if any(group for group, _ in table.columns) else ""
    buttons = [
        f'<th scope="col" aria-sort="none"{" class=num" if number else ""}>'
        f'<button type="button">{_e(name)}</button></th>'
        for name, number in zip(names, numeric, strict=True)
    ]
    rows = "".join(f"<tr>{''.join(map(_td, row, numeric, names))}</tr>\n" for row in table.rows)
    notes = "".join(f'<p class="note">{_e(note)}</p>' for note in table.notes)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{_e(table.title)}">'
        f'<table class="sortable" id="table-{_e(table.name)}"><caption>{_e(table.title)}</caption>'
        f"<thead>{head}<tr>{''.join(buttons)}</tr></thead><tbody>{rows}</tbody></table></div>{notes}"
    )


def _td(cell: Cell, numeric: bool, column: str) -> str:
    value = "" if cell.value is None else f' data-v="{_e(cell.value)}"'
    names = ' class="num"' if numeric else ""
    text = _linked(cell.text) if column == "source" else _e(cell.text)
    if cell.mark:
        text = f'<span class="{cell.mark}">{text}</span>'
    detail = f"<small>{_e(cell.detail)}</small>" if cell.detail else ""
    return f"<td{names}{value}>{text}{detail}</td>"


def _linked(text: str) -> str:
    """Escaped text whose arXiv numbers are links."""
    return re.sub(
        r"(?<![\d.])(?:arXiv:)?(\d{4}\.\d{5})(?!\d)",
        r'<a href="https://arxiv.org/abs/\1" rel="noreferrer">\g<0></a>',
        _e(text),
    )


def _plot(file: Path, alt: str) -> str:
    """A figure's PNG inside the page."""
    code = base64.b64encode(file.read_bytes()).decode()
    return f'<div class="plot"><img alt="{_e(alt)}" src="data:image/png;base64,{code}"></div>'


def _methods(runs: Sequence[Run], table: Table, results: ResultFolder) -> str:
    """The main table, all statistics, and a figure a data set."""
    rows = long_table(runs)
    plots = []
    for k, (one, part) in enumerate(rows[rows["statistic"] == "srcc"].groupby("dataset", sort=False)):
        part = part.sort_values("value", ascending=False, kind="stable")
        several = len(set(part["backbone"]) - {""}) > 1
        names = part["method"] + part["backbone"].map(lambda b, on=several: f" · {b}" if b and on else "")
        frame = pd.DataFrame(
            {"name": names, "value": part["value"], "low": part["ci_low"], "high": part["ci_high"]}
        )
        labels = sorted({b for b in part["backbone"] if b})
        files = dots(
            results.figure_path(f"methods_{k + 1}_{slug(str(one))}"),
            frame,
            xlabel=f"SRCC with {part['label'].iloc[0]}, 95 % interval",
            title="Agreement by method",
            note=" · ".join([str(one), *labels]),
        )
        plots.append(_plot(files[0], f"SRCC by method on {one}; the same numbers are in the table above"))
    every = frame_table("statistics", "All statistics", rows)
    return (
        f'<div class="card">{_table(table)}{"".join(plots)}'
        f"<details><summary>All statistics</summary>{_table(every)}</details></div>"
    )


def _published(table: Table | None, refused: Sequence[str]) -> str:
    """Published values beside measured ones, and which runs have none and why."""
    body = (
        _table(table)
        if table
        else "<p>No run here follows the protocol of a published row with published weights.</p>"
    )
    if refused:
        body += (
            "<details><summary>Runs that are not compared</summary><ul>"
            + "".join(f"<li>{_e(r)}</li>" for r in refused)
            + "</ul></details>"
        )
    return f'<div class="card">{body}</div>'


def _facts(pairs: Sequence[tuple[str, object]]) -> str:
    return (
        '<dl class="facts">'
        + "".join(f"<dt>{_e(k)}</dt><dd>{_e(v)}</dd>" for k, v in pairs if v not in (None, "", []))
        + "</dl>"
    )


def _record(record: dict[str, Any]) -> str:
    return f"<details><summary>Record</summary><pre>{_e(json.dumps(record, indent=1, default=str))}</pre></details>"


def _run(k: int, run: Run, groups: Table | None, store: "_Images") -> str:
    """One run: facts, scatter plots, groups, gallery, other tables of its folder, record."""
    record = run.record
    facts = _facts(
        [
            ("data set", dataset(record)),
            ("backbone", backbone(record)),
            ("weights", str(record.get("backbone", {}).get("weights_sha256", ""))[:16]),
            *(
                (group, record.get("choices", {}).get(group))
                for group in ("prompts", "views", "magnitude", "fusion")
            ),
            ("notes", "; ".join(map(str, record["dataset"].get("notes", [])))),
            ("warnings", "; ".join(map(str, record.get("warnings", [])))),
            ("images", store.note(run)),
        ]
    )
    names = _groups(run)
    panels = "".join(_panel(run, score) for score in CUES)
    extra = ""
    file = run.folder / "comparison.csv"
    if file.is_file():
        table = _table(frame_table(f"{run.name}-{slug(file.stem)}", file.stem, pd.read_csv(file)))
        extra = f"<details><summary>{_e(file.name)}</summary>{table}</details>"
    return (
        f'<article class="card" data-run="{k}"><h3>{_e(run.name)}</h3>{facts}'
        f'<div class="panels">{panels}</div>{_legend(names)}'
        + (f"<details><summary>Groups</summary>{_table(groups)}</details>" if groups else "")
        + _gallery(run, store)
        + extra
        + _record(record)
        + "</article>"
    )


def _panel(run: Run, score: str) -> str:
    """A canvas and its title."""
    rows = run.agreement[run.agreement["score"] == score].set_index("statistic")
    parts = [
        f"{s.upper()} {rows.loc[s, 'value']:.3f} [{rows.loc[s, 'ci_low']:.3f}, {rows.loc[s, 'ci_high']:.3f}]"
        for s in ("srcc", "plcc")
        if s in rows.index and not pd.isna(rows.loc[s, "value"])
    ]
    fit = run.record.get("fits", {}).get(score) or {}
    if fit.get("params") is None:
        parts.append(f"no fitted curve ({fit.get('status', 'not fitted')})")
    lines = "<br>".join(map(_e, parts))
    alt = f"{NAMES[score]} against {run.label}: {', '.join(parts)}. Arrow keys go from image to image."
    return (
        f"<figure><figcaption><b>{_e(NAMES[score])}</b><br>{lines}</figcaption>"
        f'<canvas tabindex="0" role="img" data-score="{score}" aria-label="{_e(alt)}"></canvas></figure>'
    )


def _groups(run: Run) -> list[str]:
    return sorted(run.scores["group"].astype(str).unique()) if "group" in run.scores else []


def _legend(names: Sequence[str]) -> str:
    """Buttons that single a group out; a list to choose from where there are more groups than colors."""
    if len(names) < 2:
        return ""
    if len(names) <= len(COLORS):
        return (
            '<div class="legend" role="group" aria-label="Show one group">'
            + "".join(
                f'<button type="button" aria-pressed="false"><i style="background:{color}"></i>{_e(name)}</button>'
                for name, color in zip(names, COLORS, strict=False)
            )
            + "</div>"
        )
    options = "".join(f'<option value="{k}">{_e(name)}</option>' for k, name in enumerate(names))
    choice = f'<select><option value="-1">all</option>{options}</select>'
    return f'<div class="legend"><label>Show one of {len(names)} groups: {choice}</label></div>'


def _gallery(run: Run, store: "_Images") -> str:
    """The images of largest disagreement in each direction, for each score."""
    parts = []
    for score in reversed(CUES):
        gap = disagreement(run.scores[score], run.scores[run.label])
        order = np.argsort(gap, kind="stable")
        most = max(1, min(store.gallery, len(order) // 2))
        for title, rows in (
            (f"{score} far above {run.label}", order[::-1][:most]),
            (f"{score} far below {run.label}", order[:most]),
        ):
            items = "".join(_gallery_item(run, int(i), score, float(gap[i]), store) for i in rows)
            parts.append(f'<h4>{_e(title)}</h4><ul class="gallery">{items}</ul>')
    return (
        '<details class="images"><summary>Gallery: largest disagreements</summary><p class="note">Difference of ranks: '
        "where the score puts an image among all of the run, minus where the label puts it.</p>"
        f"{''.join(parts)}</details>"
    )


def disagreement(score: pd.Series, label: pd.Series) -> np.ndarray:
    """Rank of the score minus rank of the label, as shares of n: (N,) in [-1, 1]; above 0: the score is too high.

    Example:
        >>> disagreement(pd.Series([1.0, 2.0, 3.0]), pd.Series([3.0, 2.0, 1.0])).round(2).tolist()
        [-0.67, 0.0, 0.67]
    """
    return (score.rank(pct=True) - label.rank(pct=True)).fillna(0.0).to_numpy()


def _gallery_item(run: Run, i: int, score: str, gap: float, store: "_Images") -> str:
    row = run.scores.iloc[i]
    at = store.large(run, i)
    picture = f'<img alt="" loading="lazy" data-large="{at}">' if at is not None else "no image"
    return (
        f'<li><div class="pic">{picture}</div><b>{_e(row["image"])}</b><br>{_e(run.label)} {row[run.label]:.3g}, '
        f"{score} {row[score]:.4g}<br>{100 * gap:+.0f} % of ranks</li>"
    )


def _folded(table: Table) -> str:
    """A table; a long one folded away, one too long for a page only named."""
    rows = f"{len(table.rows):,} rows"
    if len(table.rows) > MOST_SHOWN_ROWS:
        return f'<p class="note">{rows}: see {_e(table.name)}.csv.</p>'
    if len(table.rows) > MOST_ROWS:
        return f"<details><summary>{_e(table.title)}: {rows}</summary>{_table(table)}</details>"
    return _table(table)


def _result(sheets: Sequence[Sheet], results: ResultFolder) -> tuple[list[Table], str]:
    """A folder of an ablation or another result: its figures, tables, notes and record."""
    first = sheets[0]
    record = first.record
    about = record.get(str(record.get("command", "")).replace("ablate", "ablation"))
    about = about if isinstance(about, dict) else {}
    title = f"{'Ablation' if first.ablation else str(record.get('command', 'results')).capitalize()} {first.result}"
    words = caption(record)
    reference = None if about.get("reference") is None else str(about["reference"])
    tables = []
    for sheet in sheets:
        of = f"{title}: {sheet.file.stem}" if len(sheets) > 1 else title
        name = f"ablation_{sheet.name}" if sheet.ablation else sheet.name
        tables.append(frame_table(name, f"{of}; {words}", sheet.table, reference=reference))
    notes = [str(note) for note in about.get("notes") or []]
    split = about.get("split_half") or {}
    if split.get("optimism") is not None:
        notes.append(
            f"Picked on these images, {about.get('best')} gains {about.get('best_gain') or 0:+.4f}. A variant picked "
            f"on one half of them gains {split['optimism']:.4f} less on the other ({split.get('splits')} splits)."
        )
    tables[-1].notes.extend(notes)
    drawn = [name for name in files_of(record) if name.startswith("figures/")]
    # an ablation over several numbers: a figure each
    several = [name for name in drawn if name.startswith("figures/ablation_")]
    if first.ablation and not several and {"variant", "srcc"} <= set(first.table):
        files = ablation_figure(results.figure_path(tables[0].name), first.table, record)
    else:
        files = _copied(first.file.parent, record, drawn, results.figure_path(first.result))
    plots = "".join(
        _plot(f, f"{title}: {f.stem}; the tables hold its numbers") for f in files if f.suffix == ".png"
    )
    body = "".join(_folded(table) for table in tables)
    head = f'<h3>{_e(title)}</h3><p class="soft">{_e(caption)}</p>'
    return tables, f'<article class="card">{head}{plots}{body}{_record(record)}</article>'


def _copied(source: Path, record: dict[str, Any], names: Sequence[str], folder: Path) -> list[Path]:
    """Copies of the figures that a record lists, each as it was drawn: nothing else that lies there."""
    files = []
    for name in names:
        if name.endswith((".png", ".pdf")):
            folder.mkdir(parents=True, exist_ok=True)
            files.append(folder / Path(name).name)
            files[-1].write_bytes(read_listed(source, record, name))
    return files


class _Images:
    """The images of all runs: tiles for the plots, larger copies for the galleries. Runs share what they can."""

    def __init__(self, runs: Sequence[Run], wanted: bool) -> None:
        self.gallery = max(
            3, min(12, 100 // max(len(runs), 1))
        )  # images a direction and score: bounds the page
        self.wanted = wanted
        self.set_of: dict[str, int] = {}
        self.names: list[list[str]] = []
        self.paths: list[list[Path | None]] = []
        seen: dict[tuple[Any, ...], int] = {}
        for run in runs:
            key = (run.record["dataset"].get("root"), *run.scores["image"])
            if key not in seen:
                seen[key] = len(self.names)
                self.names.append(run.scores["image"].tolist())
                self.paths.append(_paths(run) if wanted else [None] * len(run.scores))
            self.set_of[run.name] = seen[key]
        self.tiles = make_tiles(path for paths in self.paths for path in paths if path is not None)
        self._large: dict[Path, int | None] = {}
        self._codes: list[str] = []

    @property
    def remark(self) -> str:
        """What a reader must know of the thumbnails."""
        if not self.wanted:
            return "Made without thumbnails."
        shown, total = len(self.tiles.place), self.tiles.total
        some = "" if shown == total else f" of {shown:,} of {total:,} images, to keep the page small"
        return f"Thumbnails{some}: JPEG, at most {self.tiles.side} pixels a side." if shown else ""

    def note(self, run: Run) -> str:
        """How many images of a run could not be reached."""
        paths = self.paths[self.set_of[run.name]]
        missing = sum(path is None for path in paths)
        if not self.wanted or not missing:
            return ""
        return f"{missing:,} of {len(paths):,} files are not under the data set's root, or have changed: no thumbnails"

    def large(self, run: Run, i: int) -> int | None:
        """The place of an image's larger copy in the data; None where the file cannot be read."""
        path = self.paths[self.set_of[run.name]][i]
        if path is None:
            return None
        if path not in self._large:
            image = thumbnail(path, LARGE)
            self._large[path] = None if image is None else len(self._codes)
            self._codes += [] if image is None else [data_uri(image, 70)]
        return self._large[path]

    def data(self, runs: Sequence[Run]) -> dict[str, Any]:
        """What the page's script needs."""
        place = self.tiles.place
        sets = [
            {"names": names, "tile": [place.get(path, -1) if path else -1 for path in paths]}
            for names, paths in zip(self.names, self.paths, strict=True)
        ]
        tiles = self.tiles.data() if place else None
        return {"sets": sets, "tiles": tiles, "large": self._codes, "runs": [self._run(run) for run in runs]}

    def _run(self, run: Run) -> dict[str, Any]:
        names = _groups(run)
        fits = run.record.get("fits", {})
        out: dict[str, Any] = {
            "set": self.set_of[run.name],
            "label": run.label,
            "curves": {score: (fits.get(score) or {}).get("params") for score in CUES},
            "y": _floats(run.scores[run.label]),
        }
        out |= {score: _floats(run.scores[score]) for score in (*CUES, "w_sim") if score in run.scores}
        if names:
            place = {name: k for k, name in enumerate(names)}
            out |= {"groups": names, "group": [place[str(group)] for group in run.scores["group"]]}
        return out


def _paths(run: Run) -> list[Path | None]:
    """The files of a run's images; folders of the root are searched only where the user named a root."""
    config = run.record.get("config", {}).get("dataset")
    named = isinstance(config, dict) and bool(config.get("root"))
    n = len(run.scores)
    sizes = run.scores["bytes"].tolist() if "bytes" in run.scores else [None] * n
    root = str(run.record["dataset"].get("root") or "")
    return locate(root, run.scores["image"].tolist(), sizes, search=named)


def _floats(values: pd.Series) -> list[float | None]:
    """Six significant digits, None for what is not finite."""
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values.to_numpy(float)]

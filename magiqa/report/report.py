"""A report of results: tables, figures, and the page that holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.package import expanded
from magiqa.report.exhibit import Exhibit, draw
from magiqa.report.exhibits import SECTIONS, exhibits
from magiqa.report.gallery import Pictures
from magiqa.report.latex import write_table
from magiqa.report.material import Asked, Material
from magiqa.report.methods import each_once, method_name, primary, result_title, where
from magiqa.report.page import Block, page
from magiqa.report.published_exhibits import refused
from magiqa.report.runs_exhibits import agreement_words, shown_scores
from magiqa.report.style import COLORS
from magiqa.report.table import Table, frame_table
from magiqa.report.words import AXES, backbone_name, group_name, own_weights, set_facts, set_name
from magiqa.runs.folder import ResultFolder
from magiqa.runs.read import Run, read_table, slug

MOST_ROWS = 60  # of a table that is not folded away


def report(folders: Sequence[Path], out: Path, asked: Asked | None = None) -> list[Path]:
    """Write tables (CSV, Markdown, LaTeX), figures (PNG, PDF) with captions, and `report.html`.

    Args:
        folders: written by `magiqa evaluate`, `ablate`, `experiment` or `compare`, or folders that hold such.
        out: where to write; made if missing.

    Returns:
        The files written.

    Raises:
        UserError: nothing to report in a folder, a file that cannot be read, or ``out`` cannot be written.
    """
    out, asked = expanded(out), asked or Asked()
    material = Material.read(folders, asked)
    with ResultFolder(out, "report", ["report.html"], record="report.json") as results:
        made = [(section, draw(e, results.figure_path(), asked.style)) for section, e in exhibits(material)]
        for table in (e.table for _, e in made if e.table):
            write_table(results, table)
        pictures = Pictures(material.runs, asked.thumbnails)
        sections = []
        for title in SECTIONS:
            mine = [e for section, e in made if section == title]
            blocks = _runs(material, mine, pictures) if title == "Runs" else _blocks(material, mine)
            if title == "Agreement" and blocks:
                table = frame_table(material.rows, title="All statistics")
                blocks[0] = replace(blocks[0], folds=[*blocks[0].folds, ("All statistics", table)],
                                    remarks=refused(material))  # fmt: skip
            sections += [(slug(title.lower()), title, blocks)] if blocks else []
        results.text("report.html", page(
            "page.html.j2",
            {"colors": COLORS, **pictures.data(material.runs)},
            sections=sections,
            colors=COLORS,
            folders=len(material.runs) + len({sheet.file.parent for sheet in material.sheets}),
            labels=own_weights([*material.records.values(), *(s.record for s in material.sheets)]),
        ))  # fmt: skip
        listed = results.record({"magiqa": __version__, "command": "report"})["files"]
    return [out / name for name in listed]


def _folded(tables: Sequence[Table]) -> dict[str, Any]:
    """Return the tables of a block; long ones are folded away."""
    long = [t for t in tables if len(t.rows) > MOST_ROWS]
    folds = [(f"{t.title} {len(t.rows):,} rows", t) for t in long]
    return {"tables": [t for t in tables if len(t.rows) <= MOST_ROWS], "folds": folds}


def _blocks(material: Material, exhibits: Sequence[Exhibit]) -> list[Block]:
    """Return a block of what belongs to all results, then a block a result with its record."""
    sheets = {sheet.result: sheet for sheet in reversed(material.sheets)}
    titles = each_once([result_title(s.record, s.file.stem) for s in sheets.values()], list(sheets))
    title_of = dict(zip(sheets, titles, strict=True))
    blocks = []
    for of in sorted(dict.fromkeys(e.of for e in exhibits), key=bool):
        mine = [e for e in exhibits if e.of == of]
        block = Block(**_folded([e.table for e in mine if e.table]), figures=[e for e in mine if e.png])
        if of:
            record = sheets[of].record
            block = replace(
                block,
                title=title_of[of],
                anchor=f"result-{slug(of)}",
                note=where(record),
                record=record.given,
            )
        blocks.append(block)
    return blocks


def _runs(material: Material, exhibits: Sequence[Exhibit], pictures: Pictures) -> list[Block]:
    """Return a block a run: facts, scatter plots, groups, gallery, record."""
    titles = [
        f"{set_name(r.record['dataset'])}: {method_name(r.record, primary(r.record))}" for r in material.runs
    ]
    titles = each_once(titles, [run.name for run in material.runs])
    blocks = []
    for k, (run, title) in enumerate(zip(material.runs, titles, strict=True)):
        mine = [e for e in exhibits if e.of == run.name]
        folds = [("Groups", e.table) for e in mine if e.table]
        file = run.folder / "comparison.csv"
        if file.is_file():
            table = frame_table(read_table(file), name=f"{run.name}-comparison", title="Paired differences")
            folds.append((file.name, table))
        names = sorted(set(run.scores["group"].astype(str))) if "group" in run.scores else []
        blocks.append(Block(
            title=title, anchor=f"run-{k}", run=k, facts=_facts(run, pictures), folds=folds,
            panels=[_panel(run, s) for s in shown_scores(run)],
            groups=[group_name(name, run.record["dataset"]) for name in names],
            figures=[e for e in mine if e.png and not e.name.endswith("/scatter")],
            gallery=list(pictures.gallery(run)), record=run.record.given,
        ))  # fmt: skip
    return blocks


def _facts(run: Run, pictures: Pictures) -> list[tuple[str, Any]]:
    record, data = run.record, run.record["dataset"]
    facts = {
        "data set": f"{set_name(data)}, {set_facts(data)}",
        "backbone": backbone_name(record["backbone"]),
        "weights": str(record["backbone"].get("weights_sha256", ""))[:16],
        **{group: record["choices"].get(group) for group in ("prompts", "views", "magnitude", "fusion")},
        "notes": "; ".join(map(str, [*data.get("notes", []), *record["warnings"]])),
        "images": pictures.note(run),
    }
    return [(name, value) for name, value in facts.items() if value]


def _panel(run: Run, score: str) -> tuple[str, str, list[str], str]:
    """Return a score's canvas: its score, heading, lines and alternative text."""
    fit: Mapping[str, Any] = run.record["fits"].get(score) or {}
    lines = [agreement_words(run, score)]
    lines += [f"no fitted curve ({fit.get('status', 'not fitted')})"] if fit.get("params") is None else []
    alt = f"{AXES[score]} against {run.label}: {', '.join(lines)}. Arrow keys go from image to image."
    return score, AXES[score], lines, alt

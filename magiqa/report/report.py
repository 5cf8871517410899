"""A report of results: tables, figures, and the page that holds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.package import expanded
from magiqa.report.captions import where
from magiqa.report.exhibit import Drawn, Exhibit, draw
from magiqa.report.exhibits import exhibits
from magiqa.report.frames import frame_table
from magiqa.report.gallery import Pictures, group_names
from magiqa.report.latex import write_table
from magiqa.report.material import Asked, Material
from magiqa.report.methods import each_once, method_name, primary, result_title
from magiqa.report.page import Block, Fold, Page, Panel, Section
from magiqa.report.published_exhibits import refused
from magiqa.report.runs_exhibits import agreement_words, shown_scores
from magiqa.report.words import AXES, backbone_name, group_name, own_weights, set_facts, set_name
from magiqa.runs.folder import ResultFolder
from magiqa.runs.names import slug
from magiqa.runs.read import Run, read_table


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
        # times differ between a first and a second run of the same command
        made = [(section, e) for section, e in exhibits(material) if e.kind != "time"]
        pictures = {id(e): draw(e, results.figure_path(), asked.style) for _, e in made if e.draw}
        folders_read = len(material.runs) + len({sheet.file.parent for sheet in material.sheets})
        page = Page(
            folders_read, own_weights([*material.records.values(), *(s.record for s in material.sheets)])
        )
        copies = Pictures(material.runs, asked.thumbnails)
        every = (
            [Fold("All statistics", frame_table("", "All statistics", material.rows))]
            if material.runs
            else []
        )
        reasons = refused(material)
        apart = [Fold("Runs without a published value beside theirs", items=reasons)] if reasons else []
        page.sections += [section for section in (
            _section("Agreement", made, pictures, every),
            _section("Published values", made, pictures, apart),
            Section("runs", "Runs", _runs(material, made, pictures, copies)),
            *(_section(title, made, pictures, [], _titles(material)) for title in
              ("Comparisons", "Ablations", "Experiments")),
        ) if section.blocks]  # fmt: skip
        _add_records(material, page)
        page.data = copies.data(material.runs)
        for table in (e.table for _, e in made if e.table):
            write_table(results, table)
        results.text("report.html", page.html())
        listed = results.record({"magiqa": __version__, "command": "report"})["files"]
    return [out / name for name in listed]


Made = Sequence[tuple[str, Exhibit]]

Pictured = Mapping[int, Drawn]


def _titles(material: Material) -> dict[str, str]:
    """Return the titles of results by their names."""
    firsts = {sheet.result: sheet for sheet in reversed(material.sheets)}
    titles = each_once([result_title(s.record, s.file.stem) for s in firsts.values()], list(firsts))
    return dict(zip(firsts, titles, strict=True))


def _section(
    title: str, made: Made, pictures: Pictured, folds: Sequence[Fold], titles: Mapping[str, str] | None = None
) -> Section:
    """Return a section: what belongs to all results first, then a block a result."""
    mine = [e for section, e in made if section == title]
    blocks = []
    for of in dict.fromkeys(e.of for e in sorted(mine, key=lambda e: e.of != "")):
        some = [e for e in mine if e.of == of]
        tables = [e.table for e in some if e.table]
        shown = [t for t in tables if len(t.rows) <= 60]
        long = [Fold(f"{t.title} {len(t.rows):,} rows", t) for t in tables if t not in shown]
        figures = [pictures[id(e)] for e in some if e.draw]
        title_, anchor = ((titles or {}).get(of, of), f"result-{slug(of)}") if of else ("", "")
        blocks.append(
            Block(title_, anchor, tables=shown, figures=figures, folds=[*long, *(folds if not of else ())])
        )
    if folds and not any(not e.of for e in mine):
        blocks.insert(0, Block(folds=folds))
    return Section(slug(title.lower()), title, blocks)


def _add_records(material: Material, page: Page) -> None:
    """Add the record of each result to its block."""
    records = {f"result-{slug(s.result)}": s.record for s in material.sheets}
    for section in page.sections:
        for block in section.blocks:
            if block.record is None and block.anchor in records:
                block.record = records[block.anchor].given
                block.note = block.note or where(records[block.anchor])


def _runs(material: Material, made: Made, pictures: Pictured, copies: Pictures) -> list[Block]:
    """Return a block a run: facts, scatter plots, groups, gallery, record."""
    titles = [
        f"{set_name(r.record['dataset'])}: {method_name(r.record, primary(r.record))}" for r in material.runs
    ]
    titles = each_once(titles, [run.name for run in material.runs])
    blocks = []
    for k, run in enumerate(material.runs):
        mine = [e for section, e in made if section == "Data sets" and e.of == run.name]
        folds = [Fold("Groups", e.table) for e in mine if e.table]
        file = run.folder / "comparison.csv"
        if file.is_file():
            name = f"{run.name}-{slug(file.stem)}"
            folds.append(Fold(file.name, frame_table(name, "Paired differences", read_table(file))))
        names = [group_name(name, run.record["dataset"]) for name in group_names(run)]
        blocks.append(Block(
            title=titles[k], anchor=f"run-{k}", run=k, facts=_facts(run, copies), 
            panels=[_panel(run, s) for s in shown_scores(run)],
            groups=names, folds=folds, figures=[pictures[id(e)] for e in mine if e.draw and e.kind != "cues"],
            gallery=list(copies.gallery(run)), record=run.record.given,
        ))  # fmt: skip
    return blocks


def _facts(run: Run, copies: Pictures) -> list[tuple[str, Any]]:
    record = run.record
    choices = record.get("choices", {})
    return [
        ("data set", f"{set_name(record['dataset'])}, {set_facts(record['dataset'])}"),
        ("backbone", backbone_name(record.get("backbone", {}))),
        ("weights", str(record.get("backbone", {}).get("weights_sha256", ""))[:16]),
        *((group, choices.get(group)) for group in ("prompts", "views", "magnitude", "fusion")),
        ("notes", "; ".join(map(str, [*record["dataset"].get("notes", []), *record.get("warnings", [])]))),
        ("images", copies.note(run)),
    ]


def _panel(run: Run, score: str) -> Panel:
    """Return a score's canvas and its heading."""
    words = agreement_words(run, score)
    fit = run.record.get("fits", {}).get(score) or {}
    lines = [
        words,
        *([f"no fitted curve ({fit.get('status', 'not fitted')})"] if fit.get("params") is None else []),
    ]
    alt = f"{AXES[score]} against {run.label}: {', '.join(lines)}. Arrow keys go from image to image."
    return Panel(score, AXES[score], lines, alt)

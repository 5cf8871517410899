"""A paper's results section: a folder that compiles as it is, from the folders of results alone."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magiqa import __version__
from magiqa.package import expanded
from magiqa.report.escape import MACROS, cited, md
from magiqa.report.exhibit import Exhibit, draw
from magiqa.report.exhibits import MAIN, check_kinds, exhibits
from magiqa.report.latex import PACKAGES, label, write_table
from magiqa.report.material import Asked, Material
from magiqa.report.page import HERE
from magiqa.report.protocol import enumeration, full_protocol, protocol
from magiqa.report.reproduce_script import script
from magiqa.report.study_exhibits import experiment_name
from magiqa.runs.folder import ResultFolder

PREAMBLE = r"""\documentclass[10pt,twocolumn]{article}
\usepackage{iftex}
\ifPDFTeX
\usepackage[utf8]{inputenc}
\IfFileExists{t2aenc.def}{\usepackage[T2A,T1]{fontenc}}{\usepackage[T1]{fontenc}}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\else
\usepackage{fontspec}
\fi
\usepackage[letterpaper,margin=0.75in,columnsep=0.3125in]{geometry}
\usepackage{array,booktabs,graphicx}
\usepackage[font=small]{caption}
\IfFileExists{hyperref.sty}{\usepackage[hidelinks]{hyperref}}{}
\renewcommand{\topfraction}{0.95}\renewcommand{\dbltopfraction}{0.95}\renewcommand{\textfraction}{0.05}
\renewcommand{\floatpagefraction}{0.7}\renewcommand{\dblfloatpagefraction}{0.7}
\setcounter{topnumber}{9}\setcounter{dbltopnumber}{9}\setcounter{totalnumber}{12}
\setlength{\floatsep}{8pt}\setlength{\textfloatsep}{10pt}\setlength{\dblfloatsep}{8pt}\setlength{\dbltextfloatsep}{10pt}
\IfFileExists{placeins.sty}{\usepackage{placeins}}{\let\FloatBarrier\clearpage}
\extrafloats{500}\maxdeadcycles=1000
\makeatletter\@fptop=0pt\@dblfptop=0pt\@fpsep=12pt\@dblfpsep=12pt\makeatother
\begin{document}
"""

END = r"""\raggedbottom
{\small\bibliographystyle{plain}\bibliography{references}}
\FloatBarrier
\end{document}
"""

SENTENCES = {
    "teaser": "Example images with their scores are shown in {}.",
    "main": "All methods are compared in {}.",
    "scatter": "Predicted scores are plotted in {}.",
    "backbones": "Backbones are compared in {}.",
    "groups": "SRCC by generator, distortion type or group is given in {}.",
    "magnitude": "The magnitude cue is plotted in {}.",
    "matrix": "Methods are tested in pairs in {}.",
    "ablation": "Ablations are given in {}.",
    "curves": "SRCC over one parameter is shown in {}.",
    "cost": "Parameters, arithmetic and time are given in {}.",
}

MISSED = {"teaser": "example images and maps", "cost": "parameters, GMACs and time"}


def paper(folders: Sequence[Path], out: Path, asked: Asked | None = None) -> list[Path]:
    """Write `paper.tex`, its supplement, their tables, figures, captions and references, and `reproduce.sh`.

    Args:
        folders: of results, or folders of such. out: made if missing.

    Returns:
        The files written.

    Raises:
        UserError: as `magiqa.report.report.report`.
    """
    asked, out = asked or Asked(), expanded(out)
    check_kinds(asked.only)
    material = Material.read(folders, asked)
    with ResultFolder(out, "paper", ["results.tex", "paper.tex"], record="paper.json") as results:
        main, rest, captions = _write_exhibits(material, results)
        text = [cited(protocol(material)), *_pointers(main)]
        body = [PACKAGES, MACROS, r"\section{Experiments}", *(float_ for _, float_ in main), *text]
        results.text("results.tex", "\n".join(body) + "\n")
        full = "\n\n".join(cited(text) for text in full_protocol(material))
        results.text("protocol.tex", f"{MACROS}\\section*{{Protocol}}\n{full}\n")
        parts = [r"\input{protocol}", r"\clearpage"] + [text for _, text in rest]
        results.text("paper.tex", f"% Compile this file; results.tex goes into a paper of your own.\n{PREAMBLE}"
                     f"\\input{{results}}\n{END}")  # fmt: skip
        counters = r"\renewcommand{\thetable}{S\arabic{table}}\renewcommand{\thefigure}{S\arabic{figure}}"
        results.text(
            "supplement.tex", "\n".join([PREAMBLE + MACROS + counters, *parts, r"\end{document}"]) + "\n"
        )
        results.text("references.bib", (HERE / "assets" / "references.bib").read_text(encoding="utf-8"))
        results.text("captions.md", "\n\n".join(captions) + "\n")
        made: dict[Path, Mapping[str, Any]] = {r.folder: r.record for r in material.runs}
        made |= {s.file.parent / s.result: s.record for s in material.sheets}
        results.text("reproduce.sh", script(made, _words(asked), asked.metrics))
        names = {experiment_name(sheet.record) for sheet in material.sheets}
        missing = [f"without experiment={name}, which shows {what}: run it and give its folder to have that too"
                   for name, what in MISSED.items() if name not in names]  # fmt: skip
        listed = results.record({"magiqa": __version__, "command": "paper", "warnings": missing})["files"]
    return [out / name for name in listed]


Item = tuple[Exhibit, str]


def _write_exhibits(material: Material, results: ResultFolder) -> tuple[list[Item], list[Item], list[str]]:
    """Write tables and figures; return the LaTeX of the main document's and the supplement's exhibits, and captions."""
    main: list[Item] = []
    rest: list[Item] = []
    captions = []
    for exhibit in (draw(e, results.figure_path(), material.asked.style) for _, e in exhibits(material)):
        if exhibit.table:
            write_table(results, exhibit.table)
        text = rf"\input{{tables/{exhibit.name}}}" if exhibit.table else _figure(exhibit)
        captions.append(f"**{exhibit.name}.** {md(exhibit.caption)}")
        chosen = exhibit.kind in (material.asked.only or MAIN)
        (main if chosen else rest).append((exhibit, text))
    main.sort(key=lambda item: item[0].kind != "teaser")
    return main, rest, captions


def _figure(exhibit: Exhibit) -> str:
    star, line = ("*", "text") if exhibit.wide else ("", "column")
    return "\n".join([
        rf"\begin{{figure{star}}}[tp]",
        r"\centering",
        rf"\includegraphics[width=\{line}width,height=0.72\textheight,keepaspectratio]{{figures/{exhibit.name}.pdf}}",
        rf"\caption{{{cited(exhibit.caption)}}}",
        rf"\label{{fig:{label(exhibit.name)}}}",
        rf"\end{{figure{star}}}",
    ])  # fmt: skip


def _pointers(main: Sequence[Item]) -> list[str]:
    """Return the sentences that point at the exhibits, a sentence a kind."""
    by: dict[str, list[str]] = {}
    for exhibit, _ in main:
        kind, prefix = ("Table", "tab") if exhibit.table else ("Figure", "fig")
        by.setdefault(exhibit.kind, []).append(rf"{kind}~\ref{{{prefix}:{label(exhibit.name)}}}")
    return [SENTENCES.get(kind, "See {}.").format(enumeration(refs)) for kind, refs in by.items()]


def _words(asked: Asked) -> list[str]:
    """Return the keys of the command that wrote the paper."""
    lists = {"statistics": asked.statistics, "only": asked.only, "style.width": [asked.style.width]}
    words = [f"{key}={','.join(values)}" for key, values in lists.items() if values]
    return [shlex.quote(word) for word in words if word != "style.width=column"]

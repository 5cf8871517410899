"""Score any images: find the files, rank them, write the ranking."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import pandas as pd

from magiqa import __version__
from magiqa.errors import UserError
from magiqa.features.shard import replacing
from magiqa.images.decode import images_in
from magiqa.package import expanded
from magiqa.report.console import screen
from magiqa.report.table import frame_table
from magiqa.runs.folder import ResultFolder, formula_notes
from magiqa.runs.read import slug
from magiqa.runs.record import versions
from magiqa.scorer.inputs import file_item
from magiqa.scorer.scorer import Scorer

MAPPED = ("q", "q_sim", "q_mag")


@dataclass(frozen=True)
class Ranking:
    """A ranking of images, the best first.

    Args:
        table: image, q, q_sim, q_mag, w_sim and each prompt pair's own score; a row an image.
        skipped: the reason by the name of each file left out. record: the method, as in a run's record.
    """

    table: pd.DataFrame
    skipped: dict[str, str]
    record: dict[str, Any]

    def part(self, top: int | None, bottom: int | None) -> pd.DataFrame:
        """Return the best and the worst few in the table's order; without a number all rows."""
        n = len(self.table)
        if top is None and bottom is None:
            return self.table
        first, last = min(top or 0, n), max(n - (bottom or 0), 0)
        return pd.concat([self.table[:first], self.table[max(first, last) :]])


def find_files(words: Iterable[str], listed: Iterable[str] = (), *, recursive: bool = False) -> list[str]:
    """Return the files that words mean, each once: a file, a folder's images, a glob, ``-`` for a list.

    Args:
        words: as typed. listed: a path a line, for the word ``-``. recursive: folders with their sub-folders.

    Raises:
        UserError: no word, a folder or glob without images, an empty list.

    Note:
        Of a folder, what has the suffix of an image that is read here; a file that is named is taken, whatever it is.
    """
    files: list[str] = []
    for word in words:
        path = expanded(word)
        if word == "-":
            files += _some(
                [line.strip() for line in listed if line.strip()], "-: the list on standard input is empty"
            )
        elif path.is_dir():
            deeper = "" if recursive else "; its sub-folders are looked into by recursive=true"
            files += _some(images_in(path, recursive), f"{word}: holds no images{deeper}")
        elif has_magic(word) and not path.exists():
            matches = [p for p in sorted(glob(str(path), recursive=True)) if Path(p).is_file()]
            files += _some(matches, f"{word}: no file matches")
        else:
            files.append(word)
    return _some(
        list(dict.fromkeys(files)), "score: give files, folders, globs, or - for a list on standard input"
    )


def _some(paths: list[str], complaint: str) -> list[str]:
    if not paths:
        raise UserError(complaint)
    return paths


def rank(scorer: Scorer, paths: Sequence[str]) -> Ranking:
    """Score files and sort them, the best first; equal ones by name."""
    scored = scorer.score([file_item(p) for p in paths], skip=True, progress=True)
    table = scored.cues.sort_values(["q", "image"], ascending=[False, True], kind="stable", ignore_index=True)
    return Ranking(table, scored.skipped, scorer.record())


def render(
    ranking: Ranking, top: int | None = None, bottom: int | None = None, *, everything: bool = False
) -> str:
    """Return what ``magiqa score`` prints: the method and the ranking.

    Args:
        top, bottom: as `Ranking.part`'s. everything: show w_sim and each prompt pair's own similarity too.
    """
    part = ranking.part(top, bottom)
    names = [n for n in part.columns if n != "image" and (everything or n in MAPPED)]
    columns = {"rank": "", "image": "image"} | {n: n for n in names}
    shown = "" if len(part) == len(ranking.table) else f", {len(part)} of them shown"
    head = [f"{len(ranking.table)} images, the best first{shown}; {method_line(ranking.record)}"]
    table = frame_table(part.assign(rank=[str(i + 1) for i in part.index]), columns)
    pairs = "; ".join(f"{positive} / {negative}" for positive, negative in ranking.record["prompts"])
    return screen(head, [table, "", f"prompt pairs: {pairs}"])


def method_line(record: dict[str, Any]) -> str:
    """Return the method and the weights with their label."""
    bone = record["backbone"]
    label = f" ({bone['label']})" if bone["label"] else ""
    return f"{record['method']}; {bone['name']}{label}, weights {bone['weights_sha256'][:12]}"


def write_csv(ranking: Ranking, file: str) -> list[str]:
    """Write the whole ranking in full float precision, and return notes on it."""
    _write(file, "csv", ranking.table.to_csv(index=False, lineterminator="\n"))
    return formula_notes(file, ranking.table)


def write_json(ranking: Ranking, file: str) -> None:
    """Write the whole ranking with the method, the files left out and versions."""
    content = {
        "magiqa": __version__,
        "command": "score",
        **ranking.record,
        "images": ranking.table.to_dict("records"),
        "skipped": [{"image": name, "reason": reason} for name, reason in ranking.skipped.items()],
        "versions": versions(),
    }
    text = json.dumps(content, indent=1, allow_nan=False, default=str)
    _write(file, "json", text + "\n")


def write_html(ranking: Ranking, file: str, part: pd.DataFrame) -> None:
    """Write a contact sheet of a part of the ranking."""
    from magiqa.report.pictures import contact_sheet

    page = contact_sheet(part, len(ranking.table), method_line(ranking.record), ranking.skipped)
    _write(file, "html", page)


def _write(file: str, key: str, text: str) -> None:
    path, data = expanded(file), text.encode("utf-8", "backslashreplace")  # file names may be no UTF-8
    try:
        if path.exists() and not path.is_file():  # a pipe
            path.write_bytes(data)
        else:
            with replacing(path.resolve()) as temporary:
                temporary.write_bytes(data)
    except OSError as error:
        raise UserError(f"{key}={file}: cannot be written ({error.strerror}); give another file") from None


def write_maps(
    scorer: Scorer,
    part: pd.DataFrame,
    folder: str,
    *,
    window: int | None = None,
    stride: int | None = None,
) -> list[str]:
    """Draw each image beside maps of q and of its cues, with one color scale for all images.

    Returns:
        The files' names, in the order of ``part``.
    """
    from magiqa.report.pictures import map_figure

    views = scorer.map_views(window, stride)
    paths = list(part["image"])
    with ResultFolder(expanded(folder), "score") as results:
        scored = scorer.score([file_item(p) for p in paths], views, progress=True)
        limits = {n: (float(scored.views[n].min()), float(scored.views[n].max())) for n in MAPPED}
        names = [f"{i + 1}-{slug(Path(path).stem)}.png" for i, path in enumerate(paths)]
        for i, (path, name) in enumerate(zip(paths, names, strict=True)):
            maps = scorer.map(scored, i, views)
            note = f"{method_line(scorer.record())}; windows of {views.window} pixels, stride {views.stride}"
            map_figure(results.new(name), path, {n: maps[n] for n in MAPPED}, limits, note)
        results.record(
            {
                "magiqa": __version__,
                "command": "score",
                **scorer.record(),
                "window": views.window,
                "stride": views.stride,
                "scale": limits,
                "images": dict(zip(names, paths, strict=True)),
                "versions": versions(),
            }
        )
    return names

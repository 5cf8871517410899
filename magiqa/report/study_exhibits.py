"""The exhibits of experiments: their figures as they were drawn, and their tables."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from magiqa.report.captions import study_notes, where
from magiqa.report.exhibit import Exhibit
from magiqa.report.frames import frame_table
from magiqa.report.material import Material
from magiqa.report.methods import result_title
from magiqa.runs.read import Sheet, files_of, read_listed


def experiments(material: Material) -> Iterator[Exhibit]:
    """Figures and tables of every result that is no run, ablation or comparison."""
    done: set[str] = set()
    for sheet in material.sheets:
        record = sheet.record
        if sheet.ablation or record.get("command") in ("compare", "ablate -m"):
            continue
        if sheet.result not in done:
            done.add(sheet.result)
            yield from _figures(sheet)
        about = record.get("experiment")
        name = about.get("name") if isinstance(about, Mapping) else ""
        title = result_title(record, sheet.file.stem) + (
            f", {sheet.file.stem}" if sheet.file.stem != name else ""
        )
        caption = f"{title} ({where(record)[:-1]})." if where(record) else f"{title}."
        table = frame_table(sheet.name, caption, sheet.table)
        table.notes.extend(study_notes(record))
        yield Exhibit("experiments", sheet.name, caption, table, of=sheet.result)


def _figures(sheet: Sheet) -> Iterator[Exhibit]:
    """The figures that a record lists, copied as they were drawn; nothing else that lies there."""
    about = sheet.record.get("experiment") or {}
    captions = about.get("captions") or {}
    wide = ((sheet.record.get("config") or {}).get("style") or {}).get("width") == "page"
    for name in files_of(sheet.record):
        if name.startswith("figures/") and name.endswith(".png"):
            stem = Path(name).stem
            caption = str(captions.get(stem) or f"{stem.replace('_', ' ')}. {where(sheet.record)}")
            yield Exhibit("experiments", f"{sheet.result}/{stem}", caption, draw=_copy(sheet, name), of=sheet.result,
                          wide=wide)  # fmt: skip


def _copy(sheet: Sheet, name: str) -> Callable[[Path], list[Path]]:
    def copy(stem: Path) -> list[Path]:
        stem.parent.mkdir(parents=True, exist_ok=True)
        out = []
        for suffix in (".png", ".pdf"):
            file = name.removesuffix(".png") + suffix
            if file in files_of(sheet.record):
                out.append(stem.with_name(stem.name + suffix))
                out[-1].write_bytes(read_listed(sheet.file.parent, sheet.record, file))
        return out

    return copy

"""Annotated names and the files that they mean."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from magiqa.errors import UserError, some

_ODD = re.compile(r"^[./~]|/\.|//|\\")


def folded(name: str) -> str:
    """Return a file name without regard to case and Unicode's forms (composed, decomposed)."""
    return (name if name.isascii() else unicodedata.normalize("NFC", name)).casefold()


class ImageIndex:
    """Finds annotated names among the files below some folders: as written, else as `folded`.

    Args:
        folders: searched in order; the first that holds a name wins, and ``layout`` tells which others hold it too.
        recursive: find a base name in sub-folders too.
    """

    def __init__(self, folders: Sequence[Path], recursive: bool = False) -> None:
        self.folders = [f for f in dict.fromkeys(folders) if f.is_dir()]
        self.recursive = recursive
        self.used: set[Path] = set()
        self.unused: set[Path] = set()
        self._names: dict[str, dict[str, list[str]]] = {}

    def names(self, folder: str) -> dict[str, list[str]]:
        """Return the paths in a folder, by name as written and as `folded`."""
        if folder not in self._names:
            by_name: dict[str, list[str]] = {}
            for base, inner, files in os.walk(folder):
                for name in files if self.recursive else (*files, *inner):
                    for key in {name, folded(name)}:
                        by_name.setdefault(key, []).append(f"{base}/{name}")
                if not self.recursive:
                    break
            self._names[folder] = by_name
        return self._names[folder]

    def paths(self, folder: Path, name: str) -> list[str]:
        """Return the files in one of the folders that a name may mean."""
        places = [str(folder)]
        for part in name.split("/"):
            places = [
                path
                for place in places
                for path in self.names(place).get(part) or self.names(place).get(folded(part), [])
            ]
        return [path for path in places if path.endswith(f"/{name}")] or places

    def find(self, name: str) -> str:
        """Return the absolute path of a file, or "" when there is none.

        Raises:
            UserError: a folder holds several files that could be meant.
        """
        chosen = ""
        for folder in self.folders:
            paths = self.paths(folder, name)
            if chosen:
                if any(not os.path.samefile(chosen, path) for path in paths):
                    self.unused.add(folder)
            elif len(paths) > 1:
                raise UserError(f"{name}: could be {some(sorted(paths), ' or ')}; keep one of them")
            elif paths:
                chosen = paths[0]
                self.used.add(folder)
        return chosen

    def layout(self, root: Path, annotation: Path) -> str:
        """Describe the annotation file and the folders of the images."""

        def words(folders: Iterable[Path]) -> str:
            return ", ".join(
                sorted(f"{f.relative_to(root) if f.is_relative_to(root) else f}/" for f in folders)
            )

        file = annotation.relative_to(root) if annotation.is_relative_to(root) else annotation
        also = f" (not used: files of the same names in {words(self.unused)})" if self.unused else ""
        return f"{file}; images in {words(self.used) or 'no folder'}{also}"


def find_images(
    file: Path, names: Sequence[str], root: Path, outside_root: bool, notes: list[str]
) -> list[str]:
    """Return the path of each image that a table names, "" where there is none.

    A name counts below the root, or beside the table: as written, else without regard to case and Unicode form; else
    its base name, if that is unique in the table and below the root.

    Raises:
        UserError: a name leads out of the root and may not; an image stands there twice.
    """
    homes = (f"{root}/", f"{os.path.realpath(root)}/")  # the root as typed, and where links lead from there
    plain = list(names)
    odd = [i for i, name in enumerate(names) if _ODD.search(name)]
    for i in odd:
        plain[i] = _tidy(names[i], homes)
    out = {i for i in odd if plain[i][:1] == "/" or plain[i][:3] in ("..", "../")}
    if out and not outside_root:
        raise UserError(
            f"{file}: {len(out)} names lead out of dataset.root={root} (first {names[min(out)]!r}); add "
            "dataset.outside_root=true if you know whose file this is, or dataset.strip_prefix=FOLDER/ if they are of "
            "another computer"
        )
    index = ImageIndex([root, file.parent])
    paths = [index.find(name) for name in plain]
    for i in out:
        path = os.path.normpath(os.path.join(root, plain[i]))
        paths[i] = path if os.path.lexists(path) else ""
    if out:
        notes.append(f"outside_root: {len(out)} names lead out of the root")
    missing = [i for i, path in enumerate(paths) if not path and i not in out]
    if missing:
        _find_by_base(missing, plain, paths, index.folders, notes)
    _check_unique(file, names, [path or name for path, name in zip(paths, plain, strict=True)])
    return paths


def _tidy(name: str, homes: Sequence[str]) -> str:
    """Return a name relative to the root where it lies there, with slashes, without ``.`` and ``..`` inside."""
    name = os.path.normpath((os.path.expanduser(name) if name[:2] == "~/" else name).replace("\\", "/"))
    for home in homes:
        name = name.removeprefix(home)
    return name


def _find_by_base(
    missing: Sequence[int], names: Sequence[str], paths: list[str], folders: Sequence[Path], notes: list[str]
) -> None:
    """Find names by base names that are unique."""
    everywhere = ImageIndex(folders, recursive=True)
    bases = {i: names[i].rpartition("/")[2] for i in missing}
    counts = Counter(map(folded, bases.values()))
    by_base = 0
    for i, base in bases.items():
        candidates = {path: None for folder in folders for path in everywhere.paths(folder, base)}
        if len(candidates) > 1 and counts[folded(base)] == 1:
            raise UserError(
                f"{names[i]}: could be {some(sorted(candidates), ' or ')}; name its folder in the table"
            )
        if candidates and counts[folded(base)] == 1:
            paths[i], by_base = next(iter(candidates)), by_base + 1
    if by_base:
        notes.append(f"{by_base} images are found by their base names")


def _check_unique(file: Path, names: Sequence[str], keys: Sequence[str]) -> None:
    if len(set(keys)) == len(keys):
        return
    counts = Counter(keys)
    twice = list(dict.fromkeys(name for name, key in zip(names, keys, strict=True) if counts[key] > 1))
    raise UserError(
        f"{file}: rated more than once: {some(twice)}; keep one row an image, or name the raters' column by "
        "dataset.rater_column"
    )

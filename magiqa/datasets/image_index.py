"""Annotated names and the files that they mean."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from magiqa.errors import UserError


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
        self._names: dict[tuple[Path, str], dict[str, list[str]]] = {}

    def _listing(self, folder: Path, inner: str) -> dict[str, list[str]]:
        """Return the paths in one of the folders, or in a folder inside it, by folded name."""
        key = folder, inner
        if key not in self._names:
            names: dict[str, list[str]] = {}
            places = [str(folder)]
            for part in filter(None, inner.split("/")):
                places = [path for place in places for path in _paths(place).get(folded(part), ())]
            for place in places:
                for name, paths in _paths(place, self.recursive and not inner).items():
                    names.setdefault(name, []).extend(paths)
            self._names[key] = names
        return self._names[key]

    def find(self, name: str) -> str:
        """Return the absolute path of a file, or "" when there is none.

        Raises:
            UserError: a folder holds several files that could be meant.
        """
        chosen = ""
        inner, _, base = name.rpartition("/")
        for folder in self.folders:
            paths = self._listing(folder, inner).get(folded(base), [])
            if chosen:
                if any(not os.path.samefile(chosen, path) for path in paths):
                    self.unused.add(folder)
                continue
            paths = [path for path in paths if path.endswith(f"/{name}")] or paths
            if len(paths) > 1:
                raise UserError(f"{name}: could be {' or '.join(sorted(paths))}; keep one of them")
            if paths:
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


def _paths(folder: str, recursive: bool = False) -> dict[str, list[str]]:
    """Return the paths in a folder, with ``recursive`` also those of files in its sub-folders, by folded base name."""
    names: dict[str, list[str]] = {}
    for base, folders, files in os.walk(folder):
        for name in files if recursive else (*files, *folders):
            names.setdefault(folded(name), []).append(os.path.join(base, name))
        if not recursive:
            break
    return names

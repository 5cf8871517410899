"""Annotated names and the files that they mean."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from magiqa.errors import UserError, some


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
        self._listings: dict[tuple[Path, str], Listing] = {}

    def listing(self, folder: Path, inner: str) -> "Listing":
        """Return what lies in one of the folders, or in a folder inside it."""
        places, outer = [str(folder)], ""
        for part in ("", *filter(None, inner.split("/"))):
            if part:
                places, outer = self._listings[folder, outer].find(part), f"{outer}{part}/"
            if (folder, outer) not in self._listings:
                self._listings[folder, outer] = Listing(places, self.recursive and not outer)
        return self._listings[folder, outer]

    def find(self, name: str) -> str:
        """Return the absolute path of a file, or "" when there is none.

        Raises:
            UserError: a folder holds several files that could be meant.
        """
        chosen = ""
        inner, _, base = name.rpartition("/")
        for folder in self.folders:
            paths = self.listing(folder, inner).find(base)
            if chosen:
                if any(not os.path.samefile(chosen, path) for path in paths):
                    self.unused.add(folder)
                continue
            if len(paths) > 1:
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


def find_images(
    file: Path, names: Sequence[str], root: Path, outside_root: bool, notes: list[str]
) -> list[str]:
    """Return the path of each image that a table names, "" where there is none.

    A name counts as written, below the root or beside the table; else without regard to case, Unicode form and the
    direction of slashes; else by its base name, if that is unique in the table and below the root.

    Raises:
        UserError: a name leads out of the root and may not; an image stands there twice.
    """
    homes = (f"{root}/", f"{os.path.realpath(root)}/")  # the root as typed, and where links lead from there
    plain = list(names)
    odd = [i for i, n in enumerate(names) if n[:1] in "./~" or "/." in n or "//" in n or "\\" in n]
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
    exact: dict[str, str] = {}
    for inner in {name.rpartition("/")[0] for name in plain}:
        for folder in index.folders[::-1]:
            exact |= {
                f"{inner}/{n}".lstrip("/"): paths[0]
                for n, paths in index.listing(folder, inner).exact.items()
            }
    paths = [exact.get(name, "") for name in plain]
    if out:
        for i in out:
            paths[i] = path if os.path.lexists(path := os.path.normpath(os.path.join(root, plain[i]))) else ""
        notes.append(f"outside_root: {len(out)} names lead out of the root")
    missing = [i for i, path in enumerate(paths) if not path and i not in out]
    if missing:
        _find_otherwise(missing, names, plain, paths, index, notes)
    _check_unique(file, names, [path or name for path, name in zip(paths, plain, strict=True)])
    return paths


def _tidy(name: str, homes: Sequence[str]) -> str:
    """Return a name relative to the root where it lies there, with slashes, without ``.`` and ``..`` inside."""
    name = os.path.normpath(os.path.expanduser(name) if name[:2] == "~/" else name)
    for home in homes:
        name = name.removeprefix(home)
    return os.path.normpath(name.replace("\\", "/")) if "\\" in name else name


def _find_otherwise(
    missing: Sequence[int],
    names: Sequence[str],
    plain: Sequence[str],
    paths: list[str],
    index: "ImageIndex",
    notes: list[str],
) -> None:
    """Find names without regard to case and Unicode form, else by base names that are unique."""
    everywhere = Listing([str(folder) for folder in index.folders], recursive=True)
    bases_on_disk = everywhere.folded
    bases = {i: base for i in missing if folded(base := plain[i].rpartition("/")[2]) in bases_on_disk}
    likely = [i for i in missing if i in bases or "\\" in names[i]]
    counts = Counter(map(folded, bases.values()))
    by_base = 0
    for i in likely:
        paths[i] = index.find(names[i]) or index.find(plain[i])
        if (
            not paths[i]
            and i in bases
            and counts[folded(bases[i])] == 1
            and (paths_of_base := everywhere.find(bases[i]))
        ):
            if len(paths_of_base) > 1:
                raise UserError(
                    f"{plain[i]}: could be {some(sorted(paths_of_base), ' or ')}; name its folder in the table"
                )
            paths[i], by_base = paths_of_base[0], by_base + 1
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


class Listing:
    """Paths in some folders by base name.

    Args:
        recursive: files in sub-folders too; else what lies in the folders themselves, sub-folders included.
    """

    def __init__(self, folders: Sequence[str], recursive: bool = False) -> None:
        self.exact: dict[str, list[str]] = {}
        for folder in folders:
            for base, inner, files in os.walk(folder):
                for name in files if recursive else (*files, *inner):
                    self.exact.setdefault(name, []).append(f"{base}/{name}")
                if not recursive:
                    break

    @cached_property
    def folded(self) -> dict[str, list[str]]:
        """Return the paths by `folded` base name."""
        by_name: dict[str, list[str]] = {}
        for name, paths in self.exact.items():
            by_name.setdefault(folded(name), []).extend(paths)
        return by_name

    def find(self, name: str) -> list[str]:
        """Return the paths of that name, else those of the same `folded` name."""
        return self.exact.get(name) or self.folded.get(folded(name), [])

"""Show the Markdown files of the repository's root on the site, so that each text exists once."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LOG.md")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of the root, with their links as the site needs them."""
    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, name, content=_plain(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the root's pages to their place on the site; other files of the repository lose their link."""
    for name in PAGES:
        markdown = markdown.replace(f"](../{name}", f"]({name}")
    return _plain(markdown)


def _plain(text: str) -> str:
    """Replace links to files that the site does not have by their text."""
    links = r"(?<!!)\[([^\]]+)\]\(((?!https?:|#|mailto:)[^)]*)\)"
    return re.sub(links, lambda m: m[0] if _on_site(m[2]) else m[1], text)


def _on_site(target: str) -> bool:
    path = target.partition("#")[0]
    return path in PAGES or (ROOT / "docs" / path).is_file()

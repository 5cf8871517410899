"""Read the project's Markdown pages: their prose, links, anchors and code blocks."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LOG.md")),
]
FENCE = re.compile(r"^( *)```(\w*)[ ]*(?:title=\"([^\"]+)\")?[^\n]*\n(.*?)^\1```[ ]*$", re.S | re.M)


@dataclass(frozen=True)
class Block:
    """A fenced code block: its language, the file name in its title ("" without), its text and its line."""

    language: str
    title: str
    text: str
    line: int


def page_id(page: Path) -> str:
    """A short name of a page for pytest."""
    return page.name


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(m[2], m[3] or "", re.sub(f"^{m[1]}", "", m[4], flags=re.M), text[: m.start()].count("\n") + 1)
        for m in FENCE.finditer(text)
    ]


def prose(page: Path) -> list[str]:
    """Return the paragraphs and list items of a page, without code, tables, headings and link targets."""
    text = FENCE.sub("\n", page.read_text(encoding="utf-8"))
    text = re.sub(r"<!--.*?-->|\$\$.*?\$\$", "", text, flags=re.S)
    lines = []
    for line in text.splitlines():
        bare = line.strip()
        if bare.startswith(("#", "|", ":::", "![", "!!!")):
            bare = ""
        item = re.match(r"(?:[-*]|\d+\.) +(.*)", bare)
        lines += ["", item[1]] if item else [bare]
    paragraphs = re.split(r"\n\s*\n", "\n".join(lines))
    return [plain for p in paragraphs if (plain := _plain(" ".join(p.split())))]


def sentences(page: Path) -> list[str]:
    """Return the sentences of a page's prose."""
    ends = re.compile(r"(?<=[.!?])[)\"*]*\s+(?=[\"(*\[]*[A-Z0-9`])")
    return [s for p in prose(page) for s in ends.split(p) if len(s.split()) > 1]


def _plain(text: str) -> str:
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]+`", "CODE", text)
    return re.sub(r"\*\*|__|(?<!\w)\*|\*(?!\w)", "", text)


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and images."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("\n", page.read_text(encoding="utf-8")))
    return re.findall(r"\]\(([^)\s]+)[^)]*\)", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = FENCE.sub("\n", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", t.lower()).strip()) for t in titles}

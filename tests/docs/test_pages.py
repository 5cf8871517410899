"""The pages can be read, and their commands and examples work and print what the pages show."""

import doctest
import re
import shlex
import statistics
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from skimage import data

from magiqa.cli.main import COMMANDS, main
from magiqa.config.arguments import Arguments
from magiqa.config.compose import Configs
from magiqa.datasets.base import sets

ROOT = Path(__file__).parents[2]
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
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))
    text = re.sub(r"\*\*|__|(?<!\w)\*|\*(?!\w)", "", re.sub(r"`[^`]+`", "CODE", text))
    return [" ".join(p.split()) for p in re.split(r"\n\s*\n", text) if p.strip()]


def sentences(page: Path) -> list[str]:
    """Return the sentences of a page's prose."""
    ends = re.compile(r"(?<=[.!?])[)\"*]*\s+(?=[\"(*\[]*[A-Z0-9`])")
    return [s for p in prose(page) for s in ends.split(p) if len(s.split()) > 1]


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and images."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("\n", page.read_text(encoding="utf-8")))
    return re.findall(r"\]\(([^)\s]+)[^)]*\)", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    text = FENCE.sub("\n", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", t.lower()).strip()) for t in titles}


# --- words and links

pages = pytest.mark.parametrize("page", PAGES)


@pages
def test_sentences_are_short(page):
    counts = {s: len(s.split()) for s in sentences(page)}
    assert not [s for s, words in counts.items() if words > 30]
    assert statistics.median(counts.values() or [0]) <= 16


@pytest.fixture(scope="module")
def spelling():
    from spellchecker import SpellChecker

    checker = SpellChecker()
    checker.word_frequency.load_words((ROOT / "docs" / "words.txt").read_text(encoding="utf-8").split())
    return checker


@pages
def test_words_are_spelt_right(page, spelling):
    text = re.sub(r"\S*[/@_=]\S*|\w*\d\w*", " ", " ".join(prose(page)).replace("’", "'"))
    words = {
        w for w in re.findall(r"[A-Za-z]+", re.sub(r"'\w+", "", text)) if not re.search(r"(?<=.)[A-Z]", w)
    }
    assert sorted(w for w in spelling.unknown(words) if len(w) > 2) == []


@pages
def test_links_lead_somewhere(page):
    for target in links(page):
        if target.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_readme_is_small():
    assert (ROOT / "README.md").stat().st_size <= 8192


def test_every_page_is_on_the_site():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name != "README.md" and f" {page.name}\n" not in nav] == []


@pytest.mark.long
def test_site_builds_without_a_warning(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site")))
    assert (tmp_path / "site" / "LOG.html").is_file()


@pytest.mark.parametrize("name", sorted(sets()))
def test_data_set_page_agrees_with_the_reader(name):
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
    reader = sets()[name]
    assert reader.title in row or not reader.page
    assert reader.count is None or f"{reader.count:,}" in row
    assert ("**lower**" in row) == reader.lower_is_better
    assert not reader.page or f"<{reader.page}>" in text
    assert not reader.folder or f"\n{reader.folder}/\n" in text


# --- commands and examples

NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
SCREENS: dict[str, list[str]] = {}  # the output of each command, which several pages may show
CLOSE = 2e-4  # engines and CPUs differ in the last digit shown


def having(*languages: str, text: str = "") -> pytest.MarkDecorator:
    """The pages with a block of one of these languages that holds a text."""
    pages = [p for p in PAGES if any(b.language in languages and text in b.text for b in blocks(p))]
    return pytest.mark.parametrize("page", pages)


@pytest.fixture
def workplace(request, tmp_path, monkeypatch):
    """A folder with what the page's examples need: some photos, and the files that the page shows by their names."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("chelsea", "astronaut", "coffee"):
        Image.fromarray(getattr(data, name)()).save(photos / f"{name}.png")
    coffee = Image.open(photos / "coffee.png").filter(ImageFilter.GaussianBlur(4))
    coffee.save(photos / "coffee_blurred.png")
    for block in blocks(request.getfixturevalue("page")):
        if block.title:
            file = tmp_path / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MAGIQA_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
@having("sh", text="magiqa ")
def test_commands_compose(page, workplace):
    configs = Configs()
    for block in (b for b in blocks(page) if b.language == "sh"):
        for line in block.text.replace("\\\n", " ").splitlines():
            program, command, *typed = [*shlex.split(line.removeprefix("$ "), comments=True), "", ""]
            if program != "magiqa":
                continue
            assert command in COMMANDS
            words = tuple(a for a in typed if a and not a.startswith(("-", "bundle=")))
            arguments = Arguments(command, words)
            kind = getattr(import_module(f"magiqa.cli.{command}"), f"{command.capitalize()}Keys", None)
            overrides = arguments.split(kind)[1] if kind else arguments.overrides
            for job in configs.jobs(overrides):
                configs.job(job)


def same(shown: str, printed: str) -> bool:
    """Compare two lines: words as they are, numbers within the last digit."""
    if NUMBER.sub("0", " ".join(shown.split())) != NUMBER.sub("0", " ".join(printed.split())):
        return False
    return all(
        abs(float(a.replace(",", "")) - float(b.replace(",", ""))) <= CLOSE
        for a, b in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    )


@pytest.mark.long
@having("console")
def test_output_is_as_shown(page, workplace, capsys):
    for block in (b for b in blocks(page) if b.language == "console"):
        for example in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
            typed, _, shown = example.partition("\n")
            if typed not in SCREENS:
                main(shlex.split(typed)[1:])
                screen = capsys.readouterr()
                assert "magiqa: " not in screen.err
                SCREENS[typed] = [line for line in screen.out.splitlines() if line.strip()]
            printed = SCREENS[typed]
            for line in (line for line in shown.splitlines() if line.strip() not in ("", "...")):
                assert any(same(line, other) for other in printed), (line, printed)


@pytest.mark.long
@having("python", text=">>> ")
def test_python_examples(page, workplace):
    names = {"np": np, "Image": Image}
    for block in (b for b in blocks(page) if b.language == "python" and ">>> " in b.text):
        test = doctest.DocTestParser().get_doctest(block.text, names, page.name, str(page), block.line)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert runner.run(test, clear_globs=False).failed == 0
        names |= test.globs

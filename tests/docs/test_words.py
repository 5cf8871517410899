"""The pages can be read: short sentences, no misspelt words, no dead links."""

import re
import statistics

import pytest
from pages import PAGES, ROOT, anchors, links, page_id, prose, sentences

from magiqa.datasets.sets import sets

LONGEST, MEDIAN = 30, 16
WORDS = ROOT / "docs" / "words.txt"
pages = pytest.mark.parametrize("page", PAGES, ids=page_id)


@pages
def test_sentences_are_short(page):
    counts = {s: len(s.split()) for s in sentences(page)}
    assert not [s for s, words in counts.items() if words > LONGEST]
    assert statistics.median(counts.values() or [0]) <= MEDIAN


@pytest.fixture(scope="module")
def spelling():
    from spellchecker import SpellChecker

    checker = SpellChecker()
    checker.word_frequency.load_words(WORDS.read_text(encoding="utf-8").split())
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

"""A log is no terminal: a line now and then."""

import io
import sys

import pytest

from magiqa.progress import progress_bar


def test_a_log_gets_whole_lines_and_few_of_them(monkeypatch: pytest.MonkeyPatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    for _ in progress_bar(range(5000), desc="encode", unit="image"):
        pass
    text = log.getvalue()
    assert "\r" not in text and text.endswith("\n")
    lines = text.splitlines()
    assert len(lines) == 2 and "0/5000" in lines[0] and "5000/5000" in lines[-1]


def test_nothing_is_said_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress_bar(range(3), shown=False)) == [0, 1, 2] and not log.getvalue()

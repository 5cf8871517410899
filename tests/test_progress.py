"""A log is no terminal: a line now and then."""

import io
import sys

import pytest

from magiqa import progress
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


def test_a_long_job_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    for _ in progress_bar(range(5), miniters=1):
        pass
    assert [f"{k}/5" in line for k, line in enumerate(log.getvalue().splitlines()[:6])] == [True] * 6


def test_nothing_is_said_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    assert list(progress_bar(range(3), shown=False)) == [0, 1, 2] and not log.getvalue()

"""The pages' templates, `*.j2` of this folder: all text is escaped, and an unknown name is an error."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent


def environment() -> "Environment":
    """Return the environment of the templates of both pages."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["breakable"] = breakable
    return made


def breakable(name: str) -> "Markup":
    """A file's name that a narrow place breaks after its separators, not inside a word.

    Example:
        >>> breakable("a/b_c.png")
        Markup('a/<wbr>b_<wbr>c.png')
    """
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[/_-])(?=.)", str(name)))

"""Help the site read the package's docstrings: examples as code, one row for each argument."""

import re
from typing import Any

import griffe


class Docstrings(griffe.Extension):
    """Rewrite docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Name the section of examples as Google's style does, and put each argument on a line of its own."""
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.M)
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", text, flags=re.M)
        if section:
            names = "|".join(map(re.escape, self._arguments(obj))) or "(?!)"
            rows = re.sub(rf"(?<=[.)]) (?=(?:{names})(?:, (?:{names}))*: )", "\n    ", section[1])
            text = text.replace(section[1], rows)
        obj.docstring.value = text

    def _arguments(self, obj: griffe.Object) -> list[str]:
        maker = obj.members.get("__init__", obj)
        named = [p.name for p in getattr(maker, "parameters", [])]
        return named + [name for name, member in obj.members.items() if member.is_attribute]

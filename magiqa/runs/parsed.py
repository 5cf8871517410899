"""Checked objects from JSON that anybody may have written: records and headers of bundles."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin

from magiqa.checked import Checked, checked, kinds_of, needed_of
from magiqa.errors import UserError


class Parsed(Checked, Mapping[str, Any]):
    """A base of frozen dataclasses that are read from JSON: each key of the kind that its annotation says.

    A key that is missing has the field's default; keys that are no field's are let through. It is a mapping too, of
    its fields and of those keys, so that what names and draws a run takes a record fresh from it or one that was read;
    a field that is None, and was not given so, is not in it.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Listed(Parsed):
        ...     sha256: str
        ...     rows: int | None = None
        >>> Listed.of({"sha256": "0f", "new": 1}, "files.a").plain()
        {'sha256': '0f', 'new': 1}
        >>> Listed.of({"rows": 1}, "files.a")
        Traceback (most recent call last):
        magiqa.errors.UserError: files.a.sha256 is missing
    """

    @classmethod
    def of(cls, value: Any, key: str = "") -> Self:
        """Read what JSON holds.

        Args:
            key: where it stands, for messages.

        Raises:
            UserError: names the key that is missing or holds something of another kind.
        """
        names = _names(value, key)
        values = {}
        for name, kind in kinds_of(cls).items():
            place = f"{key}.{name}".lstrip(".")
            if name in names:
                values[name] = parsed(names[name], kind, place)
            elif name in needed_of(cls):
                raise UserError(f"{place} is missing")
        parsed_object = cls(**values)
        object.__setattr__(parsed_object, "_given", names)
        return parsed_object

    @property
    def given(self) -> Mapping[str, Any]:
        """Return the JSON that it was read from."""
        return getattr(self, "_given", {})

    def plain(self) -> dict[str, Any]:
        """Return it as JSON, with defaults for what was missing."""
        return {name: _plain(value) for name, value in self.items()}

    def __getitem__(self, name: str) -> Any:
        if name not in kinds_of(type(self)):
            return self.given[name]
        value = getattr(self, name)
        if value is None and name not in self.given:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        fields = kinds_of(type(self))
        yield from (name for name in fields if name in self.given or getattr(self, name) is not None)
        yield from (name for name in self.given if name not in fields)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _names(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{key or 'it'} must be a mapping of names")
    return value


def parsed(value: Any, kind: Any, key: str) -> Any:
    """Return a JSON value as its annotation asks: text, numbers, `Parsed` objects, mappings and tuples of these.

    Raises:
        UserError: it is of another kind; the message names the key and what it must be.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        (kind,) = (k for k in inner if k is not NoneType)
        return parsed(value, kind, key)
    if origin is Mapping:
        return {name: parsed(one, inner[1], f"{key}.{name}") for name, one in _names(value, key).items()}
    if origin is tuple:
        if not isinstance(value, list):
            raise UserError(f"{key} must be a list")
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(each) != len(value):
            raise UserError(f"{key} must hold {len(each)} values")
        return tuple(parsed(v, k, f"{key}[{i}]") for i, (v, k) in enumerate(zip(value, each, strict=True)))
    if isinstance(kind, type) and issubclass(kind, Parsed):
        return kind.of(value, key)
    if kind is str and not _is_text(value):  # where a user types, 1 may stand for text
        raise UserError(f"{key}={value!r} must be text")
    return checked(value, kind, key)


def _is_text(value: Any) -> bool:
    """Tell if a value is text that can be written: JSON may hold halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _plain(value: Any) -> Any:
    if isinstance(value, Parsed):
        return value.plain()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value

"""Objects that check themselves: a frozen dataclass against its own annotations.

What a field must be stands once, in its annotation, and holds for Python as for the command line:
``Views(stride="6x")`` and ``views.stride=6x`` are the same error.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from magiqa.errors import UserError


@dataclass(frozen=True)
class Least:
    """The lowest value that an annotated number may have: ``Annotated[int, Least(1)]``."""

    value: float


_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "text",
    NoneType: "null",
}
_NO = object()  # the value is not of this kind


class Checked:
    """A base of frozen dataclasses whose fields are checked when they are made.

    Understood: ``bool``, ``int``, ``float``, ``str``, ``None``, ``Literal``, tuples and sequences of these, unions,
    ``Annotated[int, Least(1)]``, and other `Checked` classes; anything else is taken as it is. NumPy's scalars become
    Python's, a whole number may stand for a finite one or for text (a column may be called 1), lists become tuples.

    Example:
        >>> @dataclass(frozen=True)
        ... class Window(Checked, key="views"):
        ...     size: Annotated[int, Least(1)] = 224
        >>> Window("64")
        Traceback (most recent call last):
        magiqa.errors.UserError: views.size=64 must be a whole number from 1
    """

    _key: ClassVar[str] = ""

    def __init_subclass__(cls, key: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if key is not None:
            cls._key = key

    def __post_init__(self) -> None:
        own: Any = type(self)
        for name, kind in kinds_of(own).items():
            object.__setattr__(
                self, name, checked(getattr(self, name), kind, f"{self._key}.{name}".lstrip("."))
            )


class Parsed(Checked, Mapping[str, Any]):
    """A base of frozen dataclasses that are read from JSON: each key of the kind that its annotation says.

    A key that is missing has the field's default; keys that are no field's are let through. It is a mapping too, of
    its fields and of those keys, so that what names and draws a run takes a record fresh from it or one that was read;
    a field that is None, and was not given so, is not in it.

    Example:
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
        if not isinstance(value, Mapping):
            raise UserError(f"{key or 'it'} must be a mapping of names")
        values = {}
        own: Any = cls
        needed = [f.name for f in fields(own) if f.default is f.default_factory is MISSING]
        for name, kind in kinds_of(cls).items():
            place = f"{key}.{name}".lstrip(".")
            if name in value:
                values[name] = checked(value[name], kind, place)
            elif name in needed:
                raise UserError(f"{place} is missing")
        parsed = cls(**values)
        object.__setattr__(parsed, "_given", value)
        return parsed

    @property
    def given(self) -> Mapping[str, Any]:
        """Return the JSON that it was read from."""
        return getattr(self, "_given", {})

    def plain(self) -> dict[str, Any]:
        """Return it as JSON, with defaults for what was missing."""
        return {name: _as_json(value) for name, value in self.items()}

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


def _as_json(value: Any) -> Any:
    if isinstance(value, Parsed):
        return value.plain()
    if isinstance(value, Mapping):
        return {name: _as_json(inner) for name, inner in value.items()}
    return [_as_json(inner) for inner in value] if isinstance(value, list | tuple) else value


@cache
def kinds_of(cls: Any) -> dict[str, Any]:
    """Return the annotation of each field of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in fields(cls)}


def checked(value: Any, kind: Any, key: str) -> Any:
    """Return a value as an annotation asks for it.

    Raises:
        UserError: it is of another kind; the message names the key and what it must be.
    """
    result = _as(value, kind, key)
    if result is not _NO:
        return result
    origins = [get_origin(part) for part in (kind, *get_args(kind))]
    if origins[0] in (tuple, Sequence):
        raise UserError(f"{key}={value} must be a list, such as [{value}]")
    only_words = Literal in origins and Annotated not in origins
    raise UserError(f"{key}={value} {'is not known: use' if only_words else 'must be'} {_words(kind)}")


def _as(value: Any, kind: Any, key: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()  # Python's own number
    if origin is Annotated:
        number = _as(value, inner[0], key)
        least = [m.value for m in kind.__metadata__ if isinstance(m, Least)]
        return _NO if number is not _NO and least and number < least[0] else number
    if origin in (Union, UnionType):  # text last: 1 is a number where a number may stand
        parts = (_as(value, part, key) for part in sorted(inner, key=lambda k: k is str))
        return next((part for part in parts if part is not _NO), _NO)
    if origin is Literal:
        return next((a for a in inner if type(a) is type(value) and a == value), _NO)
    if origin in (tuple, Sequence):
        return _several(value, inner, key)
    if {kind, origin} & {Mapping, dict}:
        if not isinstance(value, Mapping):
            return _NO
        return {n: checked(v, inner[1], f"{key}.{n}") for n, v in value.items()} if inner else value
    if isinstance(kind, type) and issubclass(kind, Checked) and not isinstance(value, kind):
        if issubclass(kind, Parsed) and isinstance(value, Mapping | list):
            return kind.of(value, key)
        if isinstance(value, Mapping):
            raise UserError(f"{key}={dict(value)}: add _target_: {kind.__module__}.{kind.__name__} to it")
        return _NO
    return _plain(value, kind)


def _plain(value: Any, kind: Any) -> Any:
    kind = NoneType if kind is None else kind
    if kind not in _WORDS:
        return value
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind is float:  # a whole number of more than 308 digits is none
        finite = isinstance(value, float) or (whole and abs(value) < 10**308)
        return float(value) if finite and math.isfinite(value) else _NO
    if whole and kind in (int, str):
        return kind(value)
    return value if isinstance(value, kind) and kind is not int else _NO


def _several(value: Any, kinds: tuple[Any, ...], key: str) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return _NO
    inner = [kinds[0]] * len(value) if len(kinds) == 1 or kinds[-1] is Ellipsis else list(kinds)
    if len(inner) != len(value):
        raise UserError(f"{key}={list(value)} must hold {len(inner)} values")
    return tuple(checked(v, k, f"{key}[{i}]") for i, (v, k) in enumerate(zip(value, inner, strict=True)))


def _words(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Annotated:
        least = next(m.value for m in kind.__metadata__ if isinstance(m, Least))
        return f"{_words(get_args(kind)[0])} from {least:g}"
    if origin in (Union, UnionType):
        return " or ".join(_words(k) for k in get_args(kind))
    if origin is Literal:
        return ", ".join(str(a).lower() if isinstance(a, bool) else str(a) for a in get_args(kind))
    if {kind, origin} & {Mapping, dict} or (isinstance(kind, type) and issubclass(kind, Parsed)):
        return "a mapping of keys to values"
    return "a list" if origin in (tuple, Sequence) else _WORDS.get(kind, getattr(kind, "__name__", str(kind)))

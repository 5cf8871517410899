"""Config files of the user's own, before Hydra reads them: few bytes can stand for more than any memory holds."""

from pathlib import Path
from typing import Any

from magiqa.errors import UserError

_BYTES = 1 << 20

_NODES = 10_000


def read_option(file: Path) -> bytes:
    """The bytes of an option's file.

    Raises:
        UserError: it is too large, or its aliases (``*a``) stand for more than an option can hold.
    """
    if file.stat().st_size > _BYTES:
        raise UserError(f"{file}: is larger than any option ({_BYTES} bytes); remove it")
    data = file.read_bytes()
    if b"&" in data and b"*" in data and _size(data) > _NODES:
        raise UserError(
            f"{file}: its aliases stand for more than {_NODES} values; write them out, or remove it"
        )
    return data


def _size(data: bytes) -> float:
    """How many values YAML stands for, its aliases followed; endless where one holds itself."""
    import yaml

    sizes: dict[int, float] = {}

    def size(node: Any) -> float:
        if id(node) not in sizes:
            sizes[id(node)] = float("inf")  # what is met again before it is done holds itself
            inner = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [part for one in inner for part in (one if isinstance(one, tuple) else [one])]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    try:
        return size(yaml.compose(data, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError):  # said by the command that names the option
        return 0

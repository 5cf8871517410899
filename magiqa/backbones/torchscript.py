"""The tensors of a TorchScript archive, as OpenAI released its weights, read as data: none of its code is run.

An archive is a zip: ``NAME/data.pkl`` holds the modules and their attributes as a pickle, ``NAME/data/KEY`` a storage's
bytes, ``NAME/code/`` the program, which ``torch.jit.load`` compiles and, where a module has ``__setstate__``, runs.
Here the pickle is read with names for nothing but modules (which become plain dictionaries) and tensors, from the
opcodes that TorchScript writes, and the program is left alone.
"""

import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# what TorchScript's pickler writes; BYTEARRAY8 and the like reserve as much memory as they claim
# fmt: off
_OPCODES = frozenset({
    "PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "BINPERSID", "BINPUT", "LONG_BINPUT", "BINGET",
    "LONG_BINGET", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT",
    "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING", "BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1",
    "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS",
})
# fmt: on

_STORAGES = {
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def is_archive(file: Path) -> bool:
    """Tell if a file is a TorchScript archive.

    Raises:
        ValueError: a zip that states more than it holds.
    """
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as opened:
        check_zip(opened, file.stat().st_size)
        return any(name.endswith("/constants.pkl") for name in opened.namelist())


def check_zip(opened: zipfile.ZipFile, size: int) -> None:
    """Refuse what torch never writes: packed entries (but for programs), or more than the file has bytes for.

    Raises:
        ValueError: saying which.
    """
    read = [e for e in opened.infolist() if "/code/" not in e.filename]
    packed = next((e.filename for e in read if e.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise ValueError(f"its entry {packed!r} is compressed, which torch never writes")
    if sum(e.file_size for e in read) > size:
        raise ValueError("its entries are larger than the file")


class _Module(dict[str, Any]):
    """A module's attributes."""

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict):
            raise pickle.UnpicklingError("a module's state is no dictionary")
        self.update(state)


def read_archive(file: Path) -> "dict[str, torch.Tensor]":
    """The tensors of a TorchScript archive by their dotted names.

    Raises:
        ValueError, pickle.UnpicklingError, KeyError and others: anything but modules and tensors in it.
    """
    with zipfile.ZipFile(file) as opened:
        check_zip(opened, file.stat().st_size)
        pickled = next(name for name in opened.namelist() if name.endswith("/data.pkl"))
        data = opened.read(pickled)
        for code, argument, _ in pickletools.genops(data):
            if code.name not in _OPCODES or (code.name == "LONG_BINPUT" and int(argument or 0) > len(data)):
                raise ValueError(f"its pickle holds {code.name}, which TorchScript does not write")
        root = _Reader(data, opened, pickled.removesuffix("data.pkl")).load()
    if not isinstance(root, _Module):
        raise ValueError("it holds no module")
    return dict(_tensors(root, ""))


def _tensors(module: _Module, prefix: str) -> "list[tuple[str, torch.Tensor]]":
    import torch

    out: list[tuple[str, torch.Tensor]] = []
    for name, value in module.items():
        if isinstance(value, _Module):
            out += _tensors(value, f"{prefix}{name}.")
        elif isinstance(value, torch.Tensor):
            out.append((prefix + name, value))
    return out


class _Reader(pickle.Unpickler):
    def __init__(self, data: bytes, opened: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(data))
        self._opened, self._folder = opened, folder
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        import torch

        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in _STORAGES:
            return getattr(torch, _STORAGES[name])
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): dict,
            **{("torch.jit._pickle", f"build_{k}list"): list for k in ("int", "double", "bool", "tensor")},
            ("torch.jit._pickle", "restore_type_tag"): _untagged,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"its pickle names {module}.{name}, which no weights need")
        return known[module, name]

    def persistent_load(self, pid: Any) -> "torch.Tensor":
        import torch

        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(key, str) or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("a tensor's storage is not where torch puts it")
        if key not in self._storages:
            data = self._opened.read(f"{self._folder}data/{key}")
            if len(data) != count * dtype.itemsize:
                raise ValueError(f"storage {key} is not of the size that it states")
            self._storages[key] = (
                torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0, dtype=dtype)
            )
        return self._storages[key]


def _tensor(storage: "torch.Tensor", offset: int, size: Any, stride: Any, *_: Any) -> "torch.Tensor":
    made = storage.as_strided(tuple(size), tuple(stride), offset)
    if made.numel() > storage.numel():
        raise ValueError("a tensor is larger than its storage")
    return made


def _untagged(value: Any, _: str) -> Any:
    return value

"""TorchScript archives read as data: what torch.jit.load says they hold, and nothing run of what they say."""

import io
import os
import pickle
import struct
import zipfile

import pytest
import torch

from magiqa.backbones.checkpoint import read_checkpoint
from magiqa.backbones.torchscript import read_archive
from magiqa.errors import UserError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning"
)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm2d(2))
        self.shared = self.blocks[0].weight
        self.register_buffer("fp16", torch.arange(6).half().reshape(2, 3).T)
        self.register_buffer("empty", torch.empty(0, 5))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.names: dict[str, float] = {"a": 0.5}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[0](x) * self.names["a"]


def test_the_tensors_are_those_of_torchs_own_reader(tmp_path):
    file = tmp_path / "net.pt"
    torch.jit.script(Net()).save(str(file))
    expected = torch.jit.load(str(file)).state_dict()
    tensors = read_archive(file)
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert tensors[name].dtype == tensor.dtype and torch.equal(tensors[name], tensor)
    assert read_checkpoint(file).quickgelu[0]


class Attacker(torch.nn.Module):
    """As its archive is opened by torch.jit.load, the file of its path is overwritten."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.register_buffer("weight", torch.ones(3))

    @torch.jit.export
    def __getstate__(self):
        return (self.path, self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]) -> None:
        torch.save(state[1], state[0])
        self.path = state[0]
        self.weight = state[1]
        self.training = state[2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_the_program_of_an_archive_is_not_run(tmp_path):
    target = tmp_path / "mine"
    target.write_text("mine")
    file = tmp_path / "evil.pt"
    torch.jit.script(Attacker(str(target))).save(str(file))
    target.write_text("mine")
    with pytest.raises(UserError, match="not readable as a TorchScript archive"):
        read_checkpoint(file)
    assert target.read_text() == "mine"
    torch.jit.load(str(file))
    assert target.read_bytes() != b"mine"  # the attack works where it is let


def made(path, data: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("a/data.pkl", data)
        file.writestr("a/constants.pkl", pickle.dumps(()))
        for name, content in storages.items():
            file.writestr(f"a/data/{name}", content)
    return path


class Call:
    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call


def test_a_pickle_is_never_executed(tmp_path):
    executed, path = tmp_path / "executed", tmp_path / "evil.pt"
    evil = Call(os.system, (f"touch '{executed}'",))
    for zipped in (True, False):
        torch.save({"state_dict": evil}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match=r"evil\.pt: holds an object of the class (posix|nt)\.system, "):
            read_checkpoint(path)
    path.write_bytes(pickle.dumps(evil))
    with pytest.raises(UserError, match="evil"):
        read_checkpoint(path)
    assert not executed.exists()


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Call(os.system, ("touch executed",)), 2),
        pickle.dumps(Call(eval, ("open('executed', 'w')",)), 2),
        b"\x80\x02c__torch__.os\nsystem\n\x8c\x0etouch executed\x85R.",
        b"\x80\x02ctorch\nload\n\x8c\x08executed\x85R.",
        b"\x80\x02ctorch\nFloatStorage\n\x8c\x08executed\x85R.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".",  # a bytearray of a terabyte
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo of four billion places
        b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b".",
        b"\x80\x02c__torch__\nA\n)\x81}X\x01\x00\x00\x00aK\x01sb.",
        b"",
        b"\x80\x02N.",
    ],
)
def test_a_pickle_of_anything_but_modules_and_tensors_is_refused(tmp_path, monkeypatch, data):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        read_checkpoint(made(tmp_path / "evil.pt", data, {}))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def tensor(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """The pickle of a module of one tensor of a float32 storage."""
    out = io.BytesIO()

    class Writer(pickle._Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", count) if obj == "STORAGE" else None

    rebuilt = Call(torch._utils._rebuild_tensor_v2, ("STORAGE", offset, size, stride, False, {}))
    Writer(out, 2).dump({"w": rebuilt})
    return b"\x80\x02c__torch__\nA\n)\x81" + out.getvalue()[2:-1] + b"b."


@pytest.mark.parametrize(
    ("data", "storages", "compression"),
    [
        (tensor(4, (1 << 20, 1 << 20), (0, 0)), {"0": bytes(16)}, zipfile.ZIP_STORED),
        (tensor(4, (5,), (1,)), {"0": bytes(16)}, zipfile.ZIP_STORED),
        (tensor(4, (4,), (1,), 1), {"0": bytes(16)}, zipfile.ZIP_STORED),
        (tensor(4, (4,), (-1,)), {"0": bytes(16)}, zipfile.ZIP_STORED),
        (tensor(1 << 40, (4,), (1,)), {"0": bytes(16)}, zipfile.ZIP_STORED),
        (tensor(4, (4,), (1,)), {}, zipfile.ZIP_STORED),
        (tensor(1 << 24, (1 << 24,), (1,)), {"0": bytes(1 << 26)}, zipfile.ZIP_DEFLATED),
    ],
)
def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path, data, storages, compression):
    with pytest.raises(UserError) as caught:
        read_checkpoint(made(tmp_path / "evil.pt", data, storages, compression))
    assert "\n" not in str(caught.value)


def test_a_state_dict_whose_tensor_claims_more_than_the_file_holds_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "bomb.pt")
    with pytest.raises(
        UserError, match=r"entry 'w' claims the shape \(1048576, 1048576\), more than the file holds"
    ):
        read_checkpoint(tmp_path / "bomb.pt")


def test_a_packed_state_dict_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"w": torch.zeros(1 << 20)}, tmp_path / "good.pt")
    with (
        zipfile.ZipFile(tmp_path / "good.pt") as good,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in good.namelist():
            bomb.writestr(name, good.read(name))
    with pytest.raises(UserError, match="is compressed, which torch never writes"):
        read_checkpoint(tmp_path / "bomb.pt")

"""TorchScript archives give the tensors that loading them would give, and run nothing."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from src.checkpoints.archive import open_torch_file
from src.checkpoints.opening import module_tensors, open_weights
from src.runtime import InputError


class Convolution(nn.Module):
    """As in the published tokenizer: a padded convolution inside a module called conv3d."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3d(x)


class Half(nn.Module):
    """Module lists, buffers of several types, views and strides, shared modules and storages."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.ModuleDict({"block": nn.ModuleList([Convolution(2), Convolution(2)])})
            for _ in range(2)
        )
        self.conv_in = nn.Sequential(Convolution(2), Convolution(2))
        self.again = self.conv_in[0]
        self.register_buffer("wavelets", torch.tensor([0.7, 0.7]).half())
        self.register_buffer("_arange", torch.arange(2), persistent=False)
        numbers = torch.arange(24.0, dtype=torch.float64)
        self.register_buffer("offset", numbers[3:7])
        self.register_buffer("strided", numbers.reshape(4, 6).t()[1:3, ::2])
        self.register_buffer("nothing", None)
        self.plain = torch.ones(3)

    def forward(self, x: Tensor) -> Tensor:
        for level in self.down:
            for block in level["block"]:
                x = block(x)
        return self.again(self.conv_in(x)) * self.plain.sum() * self.wavelets.sum()


def written(folder: Path, script: bool, dtype: torch.dtype = torch.float32) -> Path:
    torch.manual_seed(0)
    module = Half().to(dtype).eval()
    example = torch.zeros(1, 2, 2, 2, 2, dtype=dtype)
    done = torch.jit.script(module) if script else torch.jit.trace(module, example)
    done.save(folder / "half.jit")
    return folder / "half.jit"


@pytest.mark.parametrize("script", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_tensors_are_those_of_the_loaded_archive(
    tmp_path: Path, script: bool, dtype: torch.dtype
) -> None:
    """Catches lost, renamed or surplus tensors, and types, strides and offsets that are ignored."""
    path = written(tmp_path, script, dtype)
    ours, theirs = open_weights(path).read(), torch.jit.load(path).state_dict()
    assert ours.keys() == theirs.keys() and len(ours) > 15
    assert "down.1.block.0.conv3d.weight" in ours and "again.conv3d.bias" in ours
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
        assert (ours[name].dtype, ours[name].stride()) == (tensor.dtype, tensor.stride()), name
    storages = [state["conv_in.0.conv3d.bias"].untyped_storage() for state in (ours, theirs)]
    assert len({storage.nbytes() for storage in storages}) == 1


def rewritten(path: Path, change: dict[str, bytes], target: Path, compress: int = 0) -> Path:
    """The archive with other contents of some members."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", compress) as archive:
        for name in source.namelist():
            archive.writestr(name, change.get(name.split("/", 1)[1], source.read(name)))
    return target


def test_a_program_that_restores_its_module_is_not_run(tmp_path: Path) -> None:
    """Catches loading that runs what an archive says: here it writes a file of the user's."""
    victim = tmp_path / "victim"

    class Planted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

        @torch.jit.export
        def __getstate__(self) -> tuple[Tensor, bool]:
            return self.weight, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[Tensor, bool]) -> None:
            self.weight = state[0]
            self.training = state[1]

    path = tmp_path / "planted.jit"
    torch.jit.script(nn.Sequential(Planted())).save(path)
    names = zipfile.ZipFile(path).namelist()
    texts = {name: zipfile.ZipFile(path).read(name) for name in names if name.endswith(".py")}
    (program,) = [name for name, text in texts.items() if b"__setstate__" in text]
    text = texts[program].decode()
    start = text.index("  def __setstate__")
    head, body = text[:start], text[start:]
    lines = body.split("\n")
    at = next(i for i, line in enumerate(lines) if line.endswith("-> NoneType:"))
    lines.insert(at + 1, f'    torch.save(1, "{victim}")')
    planted = rewritten(
        path, {program.split("/", 1)[1]: (head + "\n".join(lines)).encode()}, tmp_path / "new.jit"
    )
    with pytest.raises(InputError, match=r"new\.jit.*__setstate__"):
        open_weights(planted)
    assert not victim.exists()
    # What the test guards against: the loader of torch runs the program.
    torch.jit.load(planted)
    assert victim.exists()


def test_a_hostile_pickle_in_an_archive_runs_nothing(tmp_path: Path) -> None:
    """Catches an unpickler that imports what the module tree names."""
    path, victim = written(tmp_path, script=True), tmp_path / "victim"
    call = f"cos\nsystem\n(S'touch {victim}'\ntR.".encode()
    hostile = rewritten(path, {"data.pkl": call}, tmp_path / "hostile.jit")
    with pytest.raises(InputError, match="no module"):
        open_weights(hostile)
    assert not victim.exists()


@pytest.mark.parametrize("member", ["data.pkl", "data/0"])
def test_a_missing_program_or_tensor_is_named(tmp_path: Path, member: str) -> None:
    """Catches a traceback where a part of the archive is not there."""
    path = written(tmp_path, script=True)
    target = tmp_path / "cut.jit"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            if not name.endswith(f"/{member}"):
                archive.writestr(name, source.read(name))
    with pytest.raises(InputError, match=rf"cut\.jit.*{member.split('/')[0]}"):
        open_weights(target)


def test_a_program_that_grows_is_cut_off(tmp_path: Path) -> None:
    """Catches a deflated program of a kilobyte that fills the memory."""
    path = written(tmp_path, script=True)
    names = zipfile.ZipFile(path).namelist()
    programs = [name.split("/", 1)[1] for name in names if name.endswith(".py")]
    stuffed = bytes(2**25)
    target = tmp_path / "grows.jit"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            inner = name.split("/", 1)[1]
            deflated = zipfile.ZIP_DEFLATED if inner in programs else zipfile.ZIP_STORED
            archive.writestr(name, stuffed if inner in programs else source.read(name), deflated)
    assert target.stat().st_size < 2**20
    with pytest.raises(InputError, match="bytes"):
        open_weights(target)


def test_a_tree_without_end_is_refused(tmp_path: Path) -> None:
    """Catches a tree of shared branches, small on the disk, that is walked for ever."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    program = b"\x80\x02"
    for level in range(40):
        below = b"h" + bytes([level - 1]) if level else b"N"
        attributes = text("a") + below + text("b") + below
        program += b"c__torch__\nNode\n)\x81q" + bytes([level]) + b"}(" + attributes + b"ub"
    with zipfile.ZipFile(tmp_path / "tree.jit", "w") as archive:
        archive.writestr("tree/data.pkl", program + b".")
        lists = "  __parameters__ = []\n  __buffers__ = []\n"
        archive.writestr("tree/code/__torch__.py", f"class Node(Module):\n{lists}")
    with pytest.raises(InputError, match="modules"):
        module_tensors(open_torch_file(tmp_path / "tree.jit"))


def test_no_module_loads_an_archive_with_torch() -> None:
    """Catches a second way to open TorchScript, which would run what is in it."""
    root = Path(__file__).resolve().parents[3]
    parts = ("src", "cosmos_predict1", "scripts")
    files = [path for part in parts for path in root.glob(f"{part}/**/*.py")]
    assert len(files) > 100
    assert not [path for path in files if "jit.load(" in path.read_text()]

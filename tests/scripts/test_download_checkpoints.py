"""The command as a user runs it, against a hub on this machine that has a file for every name."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from downloads.catalogue import SOURCES, expand
from local_hub import LocalHub

from cosmos_predict1.diffusion.model.text import missing_constants
from src.checkpoints import PLACES, find_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = "scripts/download_checkpoints.py"
DEMO = "nvidia/Lyra-Testing-Example"
LYRA = "nvidia/Lyra/lyra_static.pt"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    """Every repository of the catalogue with small files, a README and attributes of git."""
    models, plain = {}, {}
    for source in (source for sources in SOURCES.values() for source in sources):
        folder = tmp_path / "hub" / source.repository.replace(":", "")
        for name in source.files:
            path = folder / name.replace("*", "diffusion_output/0/rgb/a.mp4")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(source.repository.encode() * 100)
            if source.kind == "url":
                plain[name] = path
        for name in (".gitattributes", "README.md", "static/README.md"):
            if source.kind != "url":
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text("*.mp4 filter=lfs\n")
        models[source.repository] = folder
    with LocalHub(models, {DEMO: models[DEMO]}, plain) as hub:
        yield hub


def run(
    hub: LocalHub, root: Path, *arguments: object, folder: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """The command with a checkpoint folder of its own."""
    return subprocess.run(
        [sys.executable, COMMAND, "--checkpoint_dir", root, *map(str, arguments)],
        cwd=folder,
        env=hub.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
def test_everything_is_found_and_nothing_tracked_changes(hub: LocalHub, tmp_path: Path) -> None:
    """Catches downloads that git sees: a changed README, attributes that filter pictures."""
    clone = tmp_path / "clone"
    for name in ("scripts", "src", "cosmos_predict1", "assets/demo"):
        shutil.copytree(REPOSITORY / name, clone / name, ignore=_ignored(name))
    shutil.copy(REPOSITORY / ".gitignore", clone)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(clone)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    done = run(hub, Path("checkpoints"), "--what", "all", "--accept", folder=clone)
    assert done.returncode == 0, done.stderr
    status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    assert status.stdout == "" and status.returncode == 0
    for kind in ("static", "dynamic"):
        # Where the registry's demo sets begin.
        assert (clone / "assets/demo" / kind / "diffusion_output/0/rgb/a.mp4").is_file()
    assert not list(clone.glob("assets/demo/static/README.md"))
    for part in set(PLACES) - {"depth"}:
        assert find_checkpoint(part, clone / "checkpoints").exists()
    hub.requests.clear()
    again = run(hub, Path("checkpoints"), "--what", "all", folder=clone)
    assert again.returncode == 0, again.stderr
    assert hub.sent("") == [] and "WARNING" not in again.stderr


def _ignored(name: str) -> object:
    downloaded = ("static", "dynamic") if name == "assets/demo" else ()
    return shutil.ignore_patterns("__pycache__", *downloaded)


def test_what_the_default_leaves_out(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Catches 45 GB fetched for two constants that are kept, or left out where they are not."""
    from download_checkpoints import main

    hub.serve_this_process(monkeypatch)
    arguments = ["download_checkpoints.py", "--checkpoint_dir", str(tmp_path / "w"), "--accept"]
    monkeypatch.setattr("sys.argv", arguments)
    first = missing_constants(tmp_path / "w")[0]
    first.parent.mkdir(parents=True)
    first.touch()
    assert main() == 0
    folders = {SOURCES[name][0].folder for name in ("gen3c", "tokenizer", "lyra", "t5", "moge")}
    assert all((tmp_path / "w" / folder).is_dir() for folder in folders)
    shutil.rmtree(tmp_path / "w" / "google-t5")
    missing_constants(tmp_path / "w")[0].touch()
    assert main() == 0 and not (tmp_path / "w" / "google-t5").exists()
    monkeypatch.setattr("sys.argv", [*arguments, "--what", "training"])
    assert main() == 0 and (tmp_path / "w" / "lpips" / "vgg.pth").is_file()
    assert not (tmp_path / "w" / "depth_anything").exists()


def test_the_help_says_what_t5_is_for_and_what_there_is() -> None:
    """Catches 45 GB called needless, and names or settings that only the code knows."""
    done = subprocess.run(
        [sys.executable, COMMAND, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    text = " ".join(done.stdout.split())
    about = "t5 45.2 GB: the text encoder; the first run encodes two constant prompts"
    for words in (about, "make_text_embeddings", "--disable_prompt_encoder", "LPIPS_ENDPOINT"):
        assert words in text
    assert "training tokenizer lpips" in text and set(expand(["all"])) <= set(text.split())


@pytest.mark.slow
def test_another_version_is_said_once_and_accepted(hub: LocalHub, tmp_path: Path) -> None:
    """Catches a user who is blocked by a newer file, a hidden failure, a log of requests."""
    done = run(hub, tmp_path / "w", "--what", "lyra")
    assert done.returncode == 1 and "2 files are complete" in done.stdout
    assert done.stderr.count("another version than the one") == 2
    last = done.stderr.splitlines()[-1]
    assert "HTTP Request" not in done.stderr
    assert "lyra_static.pt" in last and "lyra_dynamic.pt" in last and "--accept" in last
    assert len(hub.sent(".pt")) == 2
    hub.requests.clear()
    assert run(hub, tmp_path / "w", "--what", "lyra", "--accept").returncode == 0
    text = (tmp_path / "w" / "accepted_checksums.json").read_text()
    assert len(re.findall(r'"Lyra/lyra_(?:static|dynamic).pt": "md5:[0-9a-f]{32}"', text)) == 2
    quiet = run(hub, tmp_path / "w", "--what", "lyra")
    assert quiet.returncode == 0 and "WARNING" not in quiet.stderr and hub.sent("") == []
    (tmp_path / "w" / "accepted_checksums.json").write_text('{"Lyra/lyra_static.pt": "x"}')
    broken = run(hub, tmp_path / "w", "--what", "lyra")
    assert broken.returncode == 1 and "accepted_checksums.json: got" in broken.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_goes_on(hub: LocalHub, tmp_path: Path, how: signal.Signals) -> None:
    """Catches a traceback on Ctrl-C, and hours of download that are thrown away with it."""
    piece = 10 * 2**20  # What the client writes at once.
    size = 3 * piece
    (hub.models["nvidia/Lyra"] / "lyra_static.pt").write_bytes(bytes(range(256)) * (size // 256))
    hub.read_folders()
    hub.slow(LYRA, 0.01)
    process = subprocess.Popen(
        [sys.executable, COMMAND, "--what", "lyra", "--checkpoint_dir", tmp_path / "w"],
        cwd=REPOSITORY,
        env=hub.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not _parts(tmp_path, at_least=piece) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in errors
        assert (
            errors.splitlines()[-1] == "download_checkpoints.py: stopped; the same command goes on"
        )
    (part,) = _parts(tmp_path, at_least=piece)
    have = part.stat().st_size
    assert have < size
    hub.heal()
    done = run(hub, tmp_path / "w", "--what", "lyra", "--accept")
    assert done.returncode == 0, done.stderr
    (request,) = hub.sent("lyra_static.pt")
    assert request.range == f"bytes={have}-" and request.sent == size - have
    assert not _parts(tmp_path, at_least=0)


def _parts(folder: Path, at_least: int) -> list[Path]:
    found = folder.glob("w/Lyra/.lyra_static.pt.*.part")
    return [path for path in found if path.stat().st_size >= at_least]


@pytest.mark.slow
def test_an_error_is_one_line(hub: LocalHub, tmp_path: Path) -> None:
    """Catches an error that leaves exit code 0, or its place in a traceback."""
    hub.gate("nvidia/Lyra")
    done = run(hub, tmp_path / "w", "--what", "lyra")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    expected = "nvidia/Lyra: got no access, expected the licence accepted at https://"
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"download_checkpoints.py: {expected}")

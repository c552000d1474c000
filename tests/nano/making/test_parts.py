"""The making with a stand-in for the interpreter, which notes its calls and writes results."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from nano.making.ablations import VARIANTS, AblationConfig, ablate
from nano.making.part import Processes
from nano.making.parts import PARTS, MakingConfig, make
from src.runtime import InputError
from src.training.loop.interruption import Stopped

REPOSITORY = Path(__file__).resolve().parents[3]
STAND_IN = """#!/usr/bin/env bash
words="$*"
words=${words//"ROOT/"/}
echo "[${CUDA_VISIBLE_DEVICES-}] $words" >> "CALLS"
case $words in
    *" release "*) ;;
    *nano.py\\ export*) mkdir -p "$5" && touch "$5/config.json" "$5/origin.json" ;;
    *nano.py\\ evaluate*)
        while [[ $1 != --output ]]; do shift; done
        mkdir -p "$2" && echo '{"settings": {"seeds": 64}}' > "$2/evaluation.json" ;;
esac
echo "did $words"
if [[ $words == *"$(cat "HANG" 2> /dev/null || echo nothing)"* ]]; then
    touch "STARTED"
    sleep 60 & echo $! > "CHILD"
    wait
fi
[[ $words != *"$(cat "FAIL" 2> /dev/null || echo nothing)"* ]]
"""


class Kitchen:
    """A folder with a stand-in for the interpreter and what it was called with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.nano = folder, folder / "nano"
        text = STAND_IN.replace("ROOT", str(REPOSITORY))
        for name in ("CALLS", "HANG", "STARTED", "CHILD", "FAIL"):
            text = text.replace(name, str(folder / name.lower()))
        self.python = folder / "python"
        self.python.write_text(text)
        self.python.chmod(0o755)
        self.config = MakingConfig(output=self.nano, python=str(self.python))

    def calls(self) -> list[str]:
        """The commands since the last time this was asked."""
        path = self.folder / "calls"
        text = path.read_text() if path.is_file() else ""
        path.unlink(missing_ok=True)
        return text.replace(f"{self.nano}/", "").splitlines()


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Kitchen(tmp_path)


def in_order(calls: list[str], *words: str) -> bool:
    """Whether calls are as many as words, each with its word."""
    return len(calls) == len(words) and all(map(str.__contains__, calls, words))


EVERYTHING = (
    *("tokenizer.yaml", "export weights", "export tokenizer"),
    *("depth.yaml", "export weights training/depth depth"),
    *("generator.yaml", "export weights training/generator generator"),
    *("detail=plain", "detail=photo", "dynamic=true", "dynamic=true"),
    *("views_17.yaml", "views_121.yaml"),
    *("multi_6.yaml", "multi_6_prune.yaml", "_prune decoder_static"),
    *("multi_6_dynamic.yaml", "multi_6_dynamic_prune.yaml", "_prune decoder_dynamic"),
    *("evaluate worlds", "nano.py release"),
)


def test_everything_in_its_order_and_only_once(kitchen: Kitchen) -> None:
    """Parts out of order, finished ones that are made again, old figures of new weights."""
    config = replace(kitchen.config, stages=(1, 0, 0, 0, 1, 1, 1, 1, 1))
    make(config, [])
    assert in_order(kitchen.calls(), *EVERYTHING)
    assert len((kitchen.nano / "minutes.txt").read_text().splitlines()) == 10
    assert "did train.py" in (kitchen.nano / "depth.log").read_text()
    # Only the clip maker knows which clips are there, and a release is cheap.
    make(config, [])
    clips = ["dynamic=false"] * 2 + ["dynamic=true"] * 2
    assert in_order(kitchen.calls(), *clips, "nano.py release")
    make(config, [name for name in PARTS if name != "release"][:3])
    assert kitchen.calls() == []
    make(replace(config, seeds=8), ["evaluate"])
    assert in_order(kitchen.calls(), "--seeds 8")
    later = time.time() + 10
    os.utime(kitchen.nano / "depth/config.json", (later, later))
    make(config, ["evaluate"])
    assert in_order(kitchen.calls(), "evaluate worlds")


def test_the_tokenizer_uses_all_gpus(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer on one of several GPUs, minutes of another part, an origin that is lost."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    make(replace(kitchen.config, processes=2, minutes={"tokenizer": 25.0}), ["tokenizer"])
    training, kept, last = kitchen.calls()
    assert training.startswith("[0,1] -m torch.distributed.run ")
    assert "training/tokenizer.yaml" in training and "loop.total_minutes=25.0" in training
    assert "export weights training/tokenizer training/tokenizer_weights" in kept
    assert "export tokenizer training/tokenizer tokenizer --dtype float32 --held-out 64" in last
    assert (kitchen.nano / "tokenizer" / "origin.json").is_file()
    assert shutil.which("nvidia-smi") or "loop.mixed_precision=no" in training


def test_gpus_are_shared_out(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makers all on one GPU, decoders that leave some idle, a start that a decoder is not given."""
    config = replace(kitchen.config, processes=4, makers=3, start=Path("given"))
    config = replace(config, stages=(0, 0, 0, 0, 0, 1, 1, 1, 1), minutes={"clips": 5.0})
    config = replace(config, first_world=4000)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    make(config, ["clips", "decoders"])
    calls = kitchen.calls()
    makers = [line for line in calls if "nano.py clips" in line]
    for kind, gpus in (("false", "445"), ("true", "667")):
        for detail in ("plain", "photo"):
            some = [line for line in makers if f"dynamic={kind}" in line and detail in line]
            assert sorted(line[:3] for line in some) == [f"[{gpu}]" for gpu in gpus]
    assert all("max_minutes=2.5 " in line for line in makers)
    moving = [line for line in makers if "dynamic=true" in line]
    firsts = {word for line in moving for word in line.split() if word.startswith("first_seed=")}
    assert firsts == {f"first_seed={104_000 + number * 87}" for number in range(6)}
    base, *trainings = [line for line in calls if "train.py" in line]
    assert base.startswith("[4,5,6,7] ") and "loop.initial_weights=given/decoder_static" in base
    assert len(trainings) == 3
    for line in trainings:
        kind, devices = ("dynamic", "[6,7]") if "_dynamic" in line else ("static", "[4,5]")
        words = f"{devices} -m torch.distributed.run --standalone --nproc_per_node=2 "
        assert line.startswith(words)
        assert f"loop.initial_weights=given/decoder_{kind}" in line
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    make(replace(config, output=kitchen.folder / "b"), ["static"])
    train = [line for line in kitchen.calls() if "train.py" in line][-1]
    assert train.startswith("[] ") and "torch.distributed" not in train


def test_the_distillation_is_two_trainings_and_four_evaluations(kitchen: Kitchen) -> None:
    """Matching that begins anew, another teacher, figures of other weights, parts made twice."""
    config = replace(kitchen.config, release=REPOSITORY / "assets/nano", minutes={"distill": 2.5})
    make(config, ["distill"])
    first, kept, second, last, *measured = kitchen.calls()
    files = "--config_default configs/nano/training/distill.yaml --config configs/nano/training"
    assert f"{files}/distill.yaml" in first and "loop.total_minutes=2.5" in first
    assert "initial_weights" not in first and "teacher=assets/nano/generator" in first
    assert "export weights training/distill distill/consistency" in kept
    assert f"{files}/distill_distribution.yaml" in second and "loop.total_minutes=4.0" in second
    assert "loop.initial_weights=distill/consistency" in second
    assert "export weights training/distill_distribution distill/distribution" in last
    weights = (*["assets/nano/generator"] * 2, "distill/consistency", "distill/distribution")
    assert in_order(measured, *(f"--generator {part} " for part in weights))
    names = ("untrained_35", "untrained", "consistency", "distribution")
    assert in_order(measured, *(f"--output distill/{name}_evaluation" for name in names))
    steps = [line.partition(" --num_steps ")[2] for line in measured]
    assert steps == ["35", "4", "", ""]
    make(config, ["distill"])
    assert kitchen.calls() == []


def test_a_failure_is_loud(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    """A making that goes on after a failure, or hides why and where a part has failed."""
    (kitchen.folder / "fail").write_text("depth.yaml")
    with pytest.raises(Stopped, match=r"FAILED in part depth \(exit code 1\), see .*/depth\.log"):
        make(kitchen.config, ["depth", "generator"])
    assert in_order(kitchen.calls(), "depth.yaml")
    (kitchen.folder / "fail").write_text("dynamic=true")
    with pytest.raises(Stopped, match="part clips_dynamic"):
        make(replace(kitchen.config, together=True), ["clips", "release"])
    assert sorted(line[:17] for line in kitchen.calls()) == ["[0] scripts/nano."] * 3
    assert "did scripts/nano.py clips" in caplog.text
    (kitchen.folder / "fail").unlink()
    make(kitchen.config, ["depth"])
    assert in_order(kitchen.calls(), "depth.yaml", "export weights")
    with pytest.raises(InputError, match="part: got nothing"):
        make(kitchen.config, ["nothing"])
    with pytest.raises(InputError, match="--minutes: got base"):
        replace(kitchen.config, minutes={"base": 1.0})


@pytest.mark.parametrize(
    ("number", "parts"),
    [(signal.SIGTERM, ["depth"]), (signal.SIGHUP, ["clips"]), (signal.SIGINT, ["clips"])],
)
def test_a_stopped_part_ends_with_its_commands_and_goes_on(
    kitchen: Kitchen, number: signal.Signals, parts: list[str]
) -> None:
    """Commands that outlive the making, or a part that counts as finished after a signal."""
    word = "depth.yaml" if parts == ["depth"] else "dynamic=true"
    (kitchen.folder / "hang").write_text(word)
    program = (
        "import sys\nfrom pathlib import Path\nfrom nano.making.parts import MakingConfig, make\n"
        "config = MakingConfig(output=Path(sys.argv[1]), python=sys.argv[2], together=True)\n"
        "make(config, sys.argv[3:])\n"
    )
    line = [sys.executable, "-c", program, str(kitchen.nano), str(kitchen.python), *parts]
    process = subprocess.Popen(line, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    child = kitchen.folder / "child"
    while process.poll() is None and not (child.is_file() and child.read_text()):
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said or f"stopped ({number.name})" in said
    state = Path(f"/proc/{child.read_text().strip()}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"
    kitchen.calls()
    (kitchen.folder / "hang").unlink()
    make(kitchen.config, parts)
    assert word in "".join(kitchen.calls())


def test_an_interrupt_between_two_starts_ends_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that outlives an interrupt which comes before the next one has begun."""
    processes, submit, starts = Processes(), ThreadPoolExecutor.submit, list[object]()

    def interrupted(pool: ThreadPoolExecutor, work: Callable[[], None]) -> Future[None]:
        starts.append(work)
        if len(starts) == 2:
            raise KeyboardInterrupt
        return submit(pool, work)

    def sleep() -> None:
        line = [sys.executable, "-c", "import time; time.sleep(60)"]
        processes.run(line, tmp_path / "log", {}, shown=False)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        processes.beside([sleep, sleep])
    assert time.monotonic() - begin < 30


def test_ablations(kitchen: Kitchen, caplog: pytest.LogCaptureFixture) -> None:
    """Settings of one variant in another, pruning left out of the first stage, finished ones."""
    caplog.set_level(logging.INFO)
    config = AblationConfig(output=kitchen.nano, python=str(kitchen.python), steps=480)
    ablate(config, [])
    calls = kitchen.calls()
    assert len(calls) == 4 * len(VARIANTS) + 1
    full, truth = calls[:4], calls[4:9]
    assert in_order(full, "multi_6.yaml", "multi_6_prune.yaml", "export weights", "--what static")
    assert "loop.stage_steps=480" in full[0] and "loop.stage_steps=120" in full[1]
    assert "resume_from_checkpoint_dir=ablations/training/full/3dgs" in full[1]
    assert "dataset_root=clips/static" in full[0] and "targets=truth" in truth[0]
    assert "dataset_root=clips_truth/static" in truth[1]
    assert "--trajectories 0" in calls[12]
    pruned = [line for line in calls if "gaussians_prune_ratio=0" in line]
    assert in_order(
        pruned, "ablations/training/no_pruning/3dgs_res_704_1280_views_121_multi_6_prune"
    )
    ablate(config, [])
    assert kitchen.calls() == [] and "ablations/full is there" in caplog.text
    with pytest.raises(InputError, match="variant: got half"):
        ablate(config, ["half"])

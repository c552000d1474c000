"""The parity runner: it fails what must fail, and our code passes the fixtures that there are."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from check_parity import main
from parity.compare import Agreement, fact, relative_error
from parity.fixture import Config, Fixture, load_fixture
from parity.runner import Kind, Result, find_fixtures, load_kinds, run_fixture
from parity.tokenizer import check_architecture
from safetensors.torch import load_file, save_file
from torch import Tensor

from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
SHARED = REPOSITORY.parent / "shared" / "fixtures"
# Tens of thousands of draws of frames, whose annotations are checked each time.
SLOW_FIXTURES = ("recon_indices",)
SHARED_FIXTURES = [
    pytest.param(
        folder, marks=pytest.mark.slow if folder.name in SLOW_FIXTURES else (), id=folder.name
    )
    for folder in (find_fixtures([SHARED]) if SHARED.is_dir() else [])
]


def write_fixture(folder: Path, outputs: dict[str, Tensor], **extra: object) -> Path:
    """A fixture of kind `double`, whose input is `x`."""
    description = {"kind": "double", "config": {}, "tolerance": {"rtol_norm": 1e-5}} | extra
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fixture.json").write_text(json.dumps(description))
    tensors = {f"outputs/{name}": tensor.clone() for name, tensor in outputs.items()}
    tensors["inputs/x"] = torch.arange(12.0).reshape(3, 4)
    save_file(tensors, folder / "tensors.safetensors")
    return folder


def double(fixture: Fixture) -> dict[str, Tensor]:
    return {"y": 2 * fixture.inputs("x"), "unasked": torch.zeros(1)}


def run(folder: Path, **kinds: Kind) -> Result:
    result = run_fixture(folder, {"double": double} | kinds)
    assert result is not None
    return result


WATCH = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "torch":
            print("torch sees", os.environ.get("MKL_CBWR"))
            sys.meta_path.remove(self)
sys.meta_path.insert(0, Watch())
from check_parity import main
sys.exit(main())
"""


@pytest.mark.parametrize(("chosen", "seen"), [(None, "AVX2"), ("COMPATIBLE", "COMPATIBLE")])
def test_the_command_fixes_the_rounding_before_torch_is_loaded(
    chosen: str | None, seen: str
) -> None:
    """Catches figures of a run by hand that differ from those of the tests, by the processor."""
    environment = {name: part for name, part in os.environ.items() if name != "MKL_CBWR"}
    environment |= {"PYTHONPATH": str(REPOSITORY / "scripts")}
    environment |= {"MKL_CBWR": chosen} if chosen else {}
    command = [sys.executable, "-c", WATCH, str(GOLDEN / "rays")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"torch sees {seen}\n")


EXACT = 2 * torch.arange(12.0).reshape(3, 4)


def test_equal_outputs_pass_and_a_perturbed_one_fails(tmp_path: Path) -> None:
    """Catches a comparison that never fails, or fails on extra outputs of ours."""
    assert run(write_fixture(tmp_path / "same", {"y": EXACT})).passed
    perturbed = EXACT.clone()
    perturbed[1, 2] += 1e-3
    result = run(write_fixture(tmp_path / "other", {"y": perturbed}))
    assert result.status == "FAIL"
    assert result.checks[0].error == pytest.approx(1e-3 / perturbed.norm().item(), rel=1e-2)


def test_missing_output_and_wrong_shape_fail(tmp_path: Path) -> None:
    """Catches outputs that are skipped, or compared after broadcasting."""
    result = run(write_fixture(tmp_path / "missing", {"y": EXACT, "z": EXACT}))
    assert [check.passed for check in result.checks] == [True, False]
    assert not run(write_fixture(tmp_path / "shape", {"y": EXACT[None]})).passed
    assert not run(write_fixture(tmp_path / "row", {"y": EXACT[:1]})).passed


def test_per_output_tolerance_replaces_the_common_one(tmp_path: Path) -> None:
    """Catches `per_output` ignored, 0.0 read as none, and names with a case before them."""
    near = EXACT * (1 + 1e-6)
    assert run(write_fixture(tmp_path / "near", {"y": near})).passed
    for name, output in (("exact", "y"), ("case", "case/y")):
        tolerance = {"rtol_norm": 1e-5, "per_output": {"y": 0.0}}
        folder = write_fixture(tmp_path / name, {output: near}, tolerance=tolerance)
        kind = lambda fixture, output=output: {output: 2 * fixture.inputs("x")}  # noqa: E731
        assert run(folder, double=kind).status == "FAIL"
    loose = {"rtol_norm": 0.0, "per_output": {"y": 1e-3}}
    assert run(write_fixture(tmp_path / "loose", {"y": near}, tolerance=loose)).passed


@pytest.mark.parametrize("row", [0, 1])
def test_compare_where_restricts_both_tensors(tmp_path: Path, row: int) -> None:
    """Catches a map that is ignored, inverted, or not broadcast over the channels."""
    wrong = EXACT.clone()
    wrong[0] = 1e6
    folder = write_fixture(tmp_path / "where", {"y": wrong})
    config = {"compare_where": {"y": "aux/map"}}
    write_fixture(folder, {"y": wrong}, config=config)
    tensors = load_file(folder / "tensors.safetensors")
    stable = torch.zeros(3, 1, dtype=torch.int64)
    stable[row] = 1
    save_file(tensors | {"aux/map": stable}, folder / "tensors.safetensors")
    assert run(folder).passed == (row == 1)


def test_channel_groups_and_columns_are_compared_one_by_one(tmp_path: Path) -> None:
    """Catches a small group whose error drowns in the norm of a large one."""
    reference = EXACT.clone()
    reference[:, 3] = 1e-4
    kind = lambda _: {"y": torch.where(reference == 1e-4, 1.1e-4, reference)}  # noqa: E731
    assert run(write_fixture(tmp_path / "whole", {"y": reference}), double=kind).passed
    groups = {"channel_groups": {"large": [0, 3], "small": [3, 4]}}
    result = run(write_fixture(tmp_path / "groups", {"y": reference}, config=groups), double=kind)
    assert [check.name for check in result.checks if not check.passed] == ["y[small]"]
    columns = {"check_each_column": True, "properties": ["a", "b", "c", "d"]}
    result = run(write_fixture(tmp_path / "columns", {"y": reference}, config=columns), double=kind)
    assert [check.name for check in result.checks if not check.passed] == ["y[d]"]


def test_non_finite_values_fail(tmp_path: Path) -> None:
    """Catches NaN that passes because every comparison with it is false."""
    folder = write_fixture(tmp_path / "double", {"y": EXACT})
    for bad in (torch.nan, torch.inf):
        result = run(folder, double=lambda _, bad=bad: {"y": EXACT.clone().fill_(bad)})
        assert result.status == "FAIL", bad
    assert not Agreement("x", torch.nan, 1.0).passed
    holes = torch.tensor([1.0, torch.inf])
    assert relative_error(holes, holes) == 0
    assert relative_error(torch.tensor([1.0, 5.0]), holes) == torch.inf
    assert relative_error(torch.full((2,), 1e-9), torch.zeros(2)) == torch.inf


def test_values_that_nobody_reads_are_refused(tmp_path: Path) -> None:
    """Catches a variant of the original that passes as another one, its value ignored."""
    cases: list[dict[str, object]] = [{"tag": "a"}, {"tag": "b", "masked": True}]
    folder = write_fixture(tmp_path / "double", {"y": EXACT}, config={"size": 4, "cases": cases})
    assert "size, cases" in run(folder).message

    def reading(fixture: Fixture) -> dict[str, Tensor]:
        assert [case["tag"] for case in fixture.config["cases"]] == ["a", "b"]
        fixture.config.require(size=4, absent=1)
        return double(fixture)

    result = run(folder, double=reading)
    assert result.status == "error" and "not supported: cases.masked" in result.message
    cases[1].pop("masked")
    write_fixture(folder, {"y": EXACT}, config={"size": 4, "cases": cases})
    assert run(folder, double=reading).passed
    write_fixture(folder, {"y": EXACT}, config={"size": 5, "cases": cases})
    assert "config size: got 5, expected 4" in run(folder, double=reading).message


@pytest.mark.parametrize(
    "change",
    [{"num_res_blocks": 1}, {"channels": 16}, {"channels_mult": [2, 4, 2]}, {"dropout": 0.1}],
)
def test_a_tokenizer_of_another_architecture_is_refused(change: dict[str, object]) -> None:
    """Catches a fixture of other residual blocks or widths that is run with ours."""
    architecture = {
        "encoder_block_out_channels": (8, 16, 32, 32),
        "decode_block_out_channels": (16, 32, 32, 32),
    }
    tokenizer = VideoTokenizer(architecture, torch.zeros(16, 1), torch.ones(16, 1))
    config = {"channels": 8, "channels_mult": [2, 4, 4], "num_res_blocks": 2, "dropout": 0.0}
    check_architecture(Config(config), tokenizer)
    with pytest.raises(InputError, match="config"):
        check_architecture(Config(config | change), tokenizer)


def test_what_a_kind_raises_and_malformed_fixtures_are_results(tmp_path: Path) -> None:
    """Catches an exception that keeps the other fixtures from running, or counts as a pass."""

    def broken(fixture: Fixture) -> dict[str, Tensor]:
        return {"y": fixture.inputs("nothing")}

    folder = write_fixture(tmp_path / "double", {"y": EXACT})
    result = run(folder, double=broken)
    assert result.status == "error" and "nothing" in result.message
    assert run(folder, double=lambda _: []).status == "error"
    (folder / "tensors.safetensors").write_bytes(b"no tensors")
    assert run(folder).status == "error"
    (folder / "fixture.json").write_text("{")
    assert "fixture.json" in run(folder).message


def test_named_facts_are_judged(tmp_path: Path) -> None:
    """Catches facts that pass whatever they say."""
    folder = write_fixture(tmp_path / "facts", {}, tolerance={"rtol_norm": None})
    good = [fact("names", True), Agreement("mean", 0.01, 0.02)]
    assert run(folder, double=lambda _: good).passed
    assert not run(folder, double=lambda _: [*good, fact("count", False, "3 of 4")]).passed
    assert not run(folder, double=lambda _: [*good, Agreement("std", 0.03, 0.02)]).passed


@pytest.mark.parametrize(
    "extra",
    [
        {"kind": 3},
        {"tolerance": {}},
        {"tolerance": {"rtol_norm": -1}},
        {"tolerance": {"rtol_norm": 1e-5, "per_output": {"y": "exact"}}},
        {"config": []},
    ],
)
def test_malformed_descriptions_are_refused(tmp_path: Path, extra: dict) -> None:
    """Catches a fixture that is read with a guess in the place of a value."""
    with pytest.raises(InputError, match="fixture.json"):
        load_fixture(write_fixture(tmp_path / "double", {"y": EXACT}, **extra))


def test_exit_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Catches an unsupported kind, or no fixture at all, that counts as a success."""

    def code(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["check_parity.py", *map(str, arguments)])
        return main()

    write_fixture(tmp_path / "double", {"y": EXACT})
    assert code(tmp_path) == 1
    assert "unsupported double (double)" in capsys.readouterr().out
    assert code(GOLDEN / "still_image", GOLDEN / "alignment", "--verbose") == 0
    output = capsys.readouterr().out
    assert "depth_model_input" in output and "2 of 2 fixtures pass" in output
    assert code(GOLDEN, "--kind", "sdg_align") == 0
    assert code(GOLDEN / "still_image", tmp_path) == 1
    for arguments in (
        [tmp_path / "none"],
        [tmp_path, "--kind", "other"],
        [tmp_path / "double", "-x"],
    ):
        with pytest.raises(SystemExit, match="2"):
            code(*arguments)


@pytest.mark.parametrize("folder", find_fixtures([GOLDEN]), ids=lambda folder: folder.name)
def test_golden_fixtures(folder: Path) -> None:
    """Catches a part that no longer agrees with its formula in float64."""
    result = run_fixture(folder, load_kinds())
    assert result is not None and result.passed, f"{result} {result and result.checks}"


def test_golden_fixtures_are_what_their_script_makes(tmp_path: Path) -> None:
    """Catches stored tensors that no longer belong to the formulas beside them."""
    command = [sys.executable, GOLDEN / "make.py", tmp_path]
    subprocess.run(command, check=True, timeout=300)
    made, stored = find_fixtures([tmp_path]), find_fixtures([GOLDEN])
    assert [path.name for path in made] == [path.name for path in stored]
    for path, expected in zip(made, stored, strict=True):
        assert load_fixture(path).raw == load_fixture(expected).raw
        tensors, others = load_fixture(path).tensors, load_fixture(expected).tensors
        assert tensors.keys() == others.keys()
        for key, tensor in tensors.items():
            torch.testing.assert_close(tensor, others[key], rtol=1e-5, atol=1e-6, msg=key)


def test_the_golden_fixtures_stay_small() -> None:
    """Catches binaries that do not belong into the repository."""
    size = sum(path.stat().st_size for path in GOLDEN.rglob("*") if "pycache" not in str(path))
    assert size < 300_000


@pytest.mark.parametrize("folder", SHARED_FIXTURES)
def test_shared_fixtures(folder: Path) -> None:
    """Catches a difference from the original implementation."""
    kinds = load_kinds()
    result = run_fixture(folder, kinds)
    assert result is not None
    assert result.passed, f"{result} {[str(check) for check in result.checks]}"

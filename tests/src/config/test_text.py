"""Settings that are text, taken as they were typed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from src.config.loading import (
    Layer,
    command_line_layer,
    file_layer,
    load_config,
    load_train_config,
    settings_text,
)
from src.config.sample import load_sample_config
from src.config.translation import KeyTable, choice, escaped, to
from src.runtime import InputError
from src.training.decoder.config import DecoderTrainConfig

# Names that a folder may have and that YAML, OmegaConf or a careless split understand otherwise.
NAMES = (
    *("take #1", "a # b", "2024_01_15", "0x1F", "0b11", "010", "1e5", "1_000", "12:30:45", "1.50"),
    *(
        "no",
        "yes",
        "on",
        "off",
        "True",
        "false",
        "y",
        "NO",
        ".inf",
        ".nan",
        "-0",
        "+1",
        "2024-01-15",
    ),
    *("a: b", "a:b", "{a: b}", "[x", "]", "*x", "&x", "!x", "!!int 3", "%x", "@x", "`x`", "- x"),
    *("? x", "| x", "> x", "'x'", '"x"', "x'y", 'x"y', " x", "x ", "a=b", "run=1/out", "caf\u00e9"),
    *("${HOME}", "${oc.env:HOME}", "a/${b", "\\${HOME}", "a\\\\${b}", "a\\b", "$HOME", "x\ty"),
    *("---", "...", "# x", "a,b", "<<", "=", "x:", "\u65e5\u672c"),
)


@dataclass
class Inner:
    name: str = "a"
    maybe: str | None = "b"


@dataclass
class Root:
    inner: Inner = field(default_factory=Inner)
    files: str | list[str] = "x"
    names: list[str] | None = None
    word: Literal["no", "yes"] = "yes"
    count: int = 0
    switch: bool = False
    free: dict[str, Any] = field(default_factory=dict)


TABLE = KeyTable(
    keys={"published": to("inner.name"), "chosen": choice("inner.name", {True: "t", 1.5: "u"})}
)


def load(*arguments: str) -> Root:
    return load_config(Root, [command_line_layer(arguments)], TABLE)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_taken_as_it_was_typed(name: str) -> None:
    """A folder `take #1` that becomes `take`, a date that becomes a number, `${HOME}`."""
    for key in ("inner.name", "published"):
        assert load(f"{key}={name}").inner.name == name
    assert load(f"inner.maybe={name}").inner.maybe == name
    assert load(f"files={name}").files == name


@pytest.mark.parametrize("name", NAMES[::4])
def test_both_commands_take_names_as_they_were_typed(name: str) -> None:
    """The same, of the settings that the commands have, also of those below `model.`."""
    keys = ("out_dir_inference", "dataset_root", "ckpt_path", "model.output_dir", "model.vae_path")
    arguments = [f"{key}={name}" for key in keys]
    config = load_sample_config(
        "configs/inference/default.yaml", "configs/demo/lyra_static.yaml", arguments
    )
    assert config.output.folder == config.scenes.root == config.weights.path == name
    assert config.weights.output_dir == config.weights.tokenizer == name
    layers = [
        file_layer("configs/training/default.yaml"),
        command_line_layer([f"output_dir={name}"]),
    ]
    assert load_train_config(DecoderTrainConfig, layers).loop.output_dir == name


@pytest.mark.parametrize("name", NAMES[1::4])
def test_what_a_training_writes_down_loads_as_the_same(name: str, tmp_path: Path) -> None:
    """A configuration beside a checkpoint whose paths are read as something else."""
    layers = [
        file_layer("configs/training/default.yaml"),
        command_line_layer([f"output_dir={name}"]),
    ]
    config = load_train_config(DecoderTrainConfig, layers)
    path = tmp_path / "config.yaml"
    path.write_text(settings_text(config, "decoder"))
    assert load_train_config(DecoderTrainConfig, [file_layer(path)]) == config


def test_other_settings_are_yaml() -> None:
    """Numbers, switches and lists that become text as well."""
    found = load("count=0x10", "switch=yes", "names=[01,a b,'2']", "word=no", "free.a=[1,x]")
    assert (found.count, found.switch, found.word, found.free) == (16, True, "no", {"a": [1, "x"]})
    assert found.names == ["01", "a b", "2"]
    assert load("files=[a,2024_01_15]").files == ["a", "2024_01_15"]
    # A word among few may be quoted: there is nothing else that it could mean.
    assert load('word="no"').word == "no"
    assert load("chosen=true").inner.name == "t" and load("chosen=1.5").inner.name == "u"


@pytest.mark.parametrize("text", ["", "null", "~"])
def test_a_text_that_may_be_missing_can_be_taken_away(text: str) -> None:
    """`ckpt_path=null` that becomes a file called null."""
    assert load(f"inner.maybe={text}").inner.maybe is None
    assert load(f"names={text}").names is None
    assert load(f"inner.name={text}").inner.name == text


def test_files_keep_their_interpolations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment variable in a YAML file that is no longer read, or a traceback without one."""
    monkeypatch.setenv("PLACE", "here")
    path = tmp_path / "own.yaml"
    path.write_text("inner:\n  name: ${oc.env:PLACE}/x\n")
    assert load_config(Root, [file_layer(path)], TABLE).inner.name == "here/x"
    path.write_text("inner:\n  name: ${oc.env:NO_SUCH_PLACE}/x\n")
    with pytest.raises(InputError, match=r"inner\.name.*NO_SUCH_PLACE"):
        load_config(Root, [file_layer(path)], TABLE)


def test_escaping_reaches_every_text() -> None:
    """A text in a list or a mapping that is still read as an interpolation."""
    layer = Layer("x", escaped({"free": {"a": ["${b}", 1, None]}}))
    assert load_config(Root, [layer], TABLE).free == {"a": ["${b}", 1, None]}

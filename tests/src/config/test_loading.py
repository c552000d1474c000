"""Layers of configuration: precedence, published names, and what is wrong with a bad one."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from config_leaves import leaves

from src.config.loading import (
    Layer,
    command_line_layer,
    file_layer,
    load_config,
    load_train_config,
)
from src.config.translation import KEEP, Derived, Key, KeyTable, choice, to
from src.runtime import InputError
from src.training.decoder.config import DecoderTrainConfig


@dataclass(frozen=True)
class Inner:
    size: int = 4
    name: str = "a"


@dataclass
class Root:
    inner: Inner = field(default_factory=Inner)
    ratio: float = 0.5
    names: list[str] | None = None
    total: int = 0


TABLE = KeyTable(
    keys={
        "inner_size": to("inner.size"),
        "both": to("inner.size", "total"),
        "also_size": to("inner.size"),
        "kind": choice("inner.name", {1: "one", None: KEEP}),
        "doubled": Key(("total",), lambda value: 2 * value),
    },
    fixed={"variant": None},
    dead=frozenset({"old", "older"}),
    derived=(
        Derived(
            "total",
            frozenset({"all", "some"}),
            lambda seen: seen.get("all", 10) - seen.get("some", 1),
        ),
    ),
    elsewhere={"foreign": "other.foreign"},
)


def load(*layers: dict) -> Root:
    return load_config(Root, [Layer(f"layer {i}", x) for i, x in enumerate(layers)], TABLE)


def test_later_layers_win_under_either_name() -> None:
    """Published names applied after our own ones, whatever the order of the layers."""
    assert load({"inner_size": 1}, {"inner": {"size": 2}}).inner.size == 2
    assert load({"inner": {"size": 2}}, {"inner_size": 1}).inner.size == 1
    assert load({"inner": {"size": 2, "name": "b"}}, {"inner": {"size": 3}}).inner == Inner(3, "b")


def test_lists_are_replaced_and_numbers_become_names() -> None:
    """A list of trajectories that grows from layer to layer, or numbers instead of names."""
    assert load({"names": ["a", "b"]}, {"names": [1, "c"]}).names == ["1", "c"]
    assert load({"names": ["a"]}, {"names": None}).names is None


def test_values_are_converted() -> None:
    """A published value that reaches our field as it is."""
    assert load({"kind": 1}).inner.name == "one"
    assert load({"kind": None}).inner.name == "a"
    assert load({"doubled": 4}).total == 8
    assert load({"both": 3}) == Root(Inner(3), total=3)


def test_derived_values_follow_all_layers_but_yield_to_later_keys() -> None:
    """A difference of two keys that sees one layer only, or that overwrites a later setting."""
    assert load({"all": 8}, {"some": 3}).total == 5
    assert load({"all": 8}, {"total": 2}).total == 2
    assert load({"all": 8, "some": 2}, {"ratio": 1.0}).total == 6
    assert load({"ratio": 1.0}).total == 0


def test_dead_keys_are_named_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Keys without an effect that are accepted silently, or one warning a key."""
    with caplog.at_level(logging.WARNING):
        load({"older": 1}, {"old": 2}, {"old": 3})
    assert len(caplog.records) == 1
    assert "old, older" in caplog.text
    caplog.clear()
    load({"variant": None})
    assert not caplog.records


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"iner_size": 1}, ["iner_size", "did you mean 'inner_size'"]),
        ({"inner": {"sise": 1}}, ["sise", "Did you mean: 'size'"]),
        ({"foreign": 1}, ["foreign", "other.foreign"]),
        ({"zzzzzz": 1}, ["unknown key 'zzzzzz'"]),
        ({"ratio": "much"}, ["ratio", "much"]),
        ({"inner_size": 1.5}, ["inner_size", "1.5"]),
        ({"inner_size": None}, ["inner_size", "None"]),
        ({"names": "a"}, ["names"]),
        ({"inner": 3}, ["inner"]),
        ({"names": {"a": 1}}, ["names"]),
        ({"variant": "fast"}, ["variant='fast'", "None"]),
        ({"kind": 7}, ["kind=7", "[1, None]"]),
        ({"kind": [1]}, ["kind=[1]"]),
        ({"inner_size": 1, "also_size": 2}, ["inner_size and also_size say 1 and 2"]),
    ],
)
def test_what_is_wrong_is_named(values: dict, parts: list[str]) -> None:
    """A misspelt key or an unfit value that is ignored, or refused without saying where."""
    with pytest.raises(InputError) as caught:
        load({"ratio": 1.0}, values)
    assert "layer 1" in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_the_command_line_is_yaml_with_dots() -> None:
    """Values that stay text, or dotted keys that don't descend."""
    values = command_line_layer(["a.b=1", "c=[x,'2']", "d=null", "e=true", "f=k=v"]).values
    assert values == {"a": {"b": 1}, "c": ["x", "2"], "d": None, "e": True, "f": "k=v"}


@pytest.mark.parametrize("argument", ["skip_existing", "=3"])
def test_arguments_that_are_no_settings_are_refused(argument: str) -> None:
    """A forgotten `=`, read as a key whose value is nothing."""
    with pytest.raises(InputError, match="key=value"):
        command_line_layer([argument])


@pytest.mark.parametrize("argument", ["ratio=[1", "total=1e", "names=[1", "ratio=${", "ratio=${x}"])
def test_arguments_that_are_no_values_are_refused(argument: str) -> None:
    """Text that YAML cannot read, taken for a number, or a traceback of another library."""
    with pytest.raises(InputError, match=argument.partition("=")[0]):
        load_config(Root, [command_line_layer([argument])], TABLE)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n"])
def test_files_that_are_no_mappings_are_refused(tmp_path: Path, text: str) -> None:
    """A broken file that is taken for an empty one."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match="bad.yaml"):
        file_layer(path)


def test_files_are_found_in_the_repository_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shipped configurations that are only found from the repository, or that hide a user's."""
    monkeypatch.chdir(tmp_path)
    assert file_layer("configs/demo/lyra_static.yaml").values["dataset_name"] == "lyra_static_demo"
    own = tmp_path / "configs/demo/lyra_static.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("ratio: 2\n")
    assert file_layer("configs/demo/lyra_static.yaml").values == {"ratio": 2}
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        file_layer("nowhere.yaml")


def test_a_value_out_of_range_names_its_sources(tmp_path: Path) -> None:
    """A message that names the setting, but none of the files that it may come from."""
    path = tmp_path / "mine.yaml"
    path.write_text("enc_num_heads: 3\nenc_embed_dim: -1\n")
    layers = [file_layer(path), command_line_layer(["seed=3"])]
    with pytest.raises(InputError, match=r"decoder\.width \(.*mine\.yaml, command line\): got -1"):
        load_train_config(DecoderTrainConfig, layers)


def test_leaves_are_the_fields_of_the_tree() -> None:
    """A field of an inner dataclass that the comparison with a YAML file forgets."""
    found = dict(leaves(Root()))
    assert found == {
        "inner.size": 4,
        "inner.name": "a",
        "ratio": 0.5,
        "names": None,
        "total": 0,
    }

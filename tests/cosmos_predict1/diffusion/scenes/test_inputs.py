"""Inputs become scenes with names that are file names, and unlike each other."""

import json
import os
from pathlib import Path

import pytest
from tiny_generator import write_picture
from tiny_video import write_vipe

from cosmos_predict1.diffusion.config import InputConfig
from cosmos_predict1.diffusion.scenes.inputs import SceneInput, scene_inputs
from src.io.clip.clip import ClipPaths
from src.runtime import InputError


def write_lines(path: Path, *records: object) -> Path:
    path.write_text("\n".join(json.dumps(record) for record in records) + "\n\n")
    return path


def test_one_picture_is_named_after_its_file(tmp_path: Path) -> None:
    """A published consumer looks clips up by the stem of the picture."""
    path = write_picture(tmp_path / "00172.v2.png")
    config = InputConfig(image=str(path))
    assert scene_inputs(config, False) == [SceneInput("00172.v2", path)]


def test_a_folder_gives_a_scene_for_each_picture(tmp_path: Path) -> None:
    """Other files taken for pictures, or an order that changes from run to run."""
    for name in ("b.PNG", "a.jpg", "c.webp"):
        write_picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert [s.key for s in scene_inputs(InputConfig(image=str(tmp_path)), False)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "prompt",
    ["a cat, on/in a box", "../../etc/passwd", "\u732b\u304c\u597d\u304d", "x" * 500, ".a"],
)
def test_prompts_never_reach_file_names_as_they_are(tmp_path: Path, prompt: str) -> None:
    """A prompt with slashes that writes elsewhere, or one that is longer than a file name."""
    path = write_picture(tmp_path / "photo.png")
    for config in (InputConfig(prompt=prompt), InputConfig(image=str(path), prompt=prompt)):
        (scene,) = scene_inputs(config, False)
        assert scene.prompt == prompt
        assert len(scene.key.encode()) < 200
        ClipPaths(tmp_path, "0", scene.key)


def test_keys_differ_where_prompts_differ_in_little(tmp_path: Path) -> None:
    """Two prompts that become one file name, so that the second clip is taken for finished."""
    path = write_picture(tmp_path / "photo.png")
    lines = write_lines(
        tmp_path / "batch.jsonl",
        *({"prompt": text, "visual_input": str(path)} for text in ("a b", "a  b", "A b", "")),
    )
    scenes = scene_inputs(InputConfig(batch=str(lines)), False)
    assert len({scene.key.casefold() for scene in scenes}) == 4
    assert scenes[3].key == "photo"


def test_equal_stems_are_told_apart(tmp_path: Path) -> None:
    """Pictures of two folders, or formats, that overwrite each other's clips."""
    for name in ("a/x.png", "b/x.png", "b/x.jpg", "b/y.png"):
        write_picture(tmp_path / name)
    records = [{"visual_input": name} for name in ("a/x.png", "b/x.png", "b/x.jpg", "b/y.png")]
    lines = write_lines(tmp_path / "batch.jsonl", *records)
    keys = [scene.key for scene in scene_inputs(InputConfig(batch=str(lines)), False)]
    assert len(set(keys)) == 4 and keys[3] == "y"
    assert all(key.startswith("x_") for key in keys[:3])


def test_lines_have_their_own_prompt_or_the_common_one(tmp_path: Path) -> None:
    """A line's prompt that is lost, or a line without one that gets none."""
    write_picture(tmp_path / "a.png")
    records = [
        {"visual_input": "a.png"},
        {"prompt": "mine"},
        {"visual_input": "a.png", "prompt": "p"},
    ]
    lines = write_lines(tmp_path / "batch.jsonl", *records)
    config = InputConfig(batch=str(lines), prompt="common")
    scenes = scene_inputs(config, False)
    assert [scene.prompt for scene in scenes] == ["common", "mine", "p"]
    assert [scene.path is None for scene in scenes] == [False, True, False]


def test_a_vipe_root_is_named_after_its_folder(tmp_path: Path) -> None:
    """A folder with a dot in its name that loses what follows it."""
    folder = tmp_path / "clip.v1"
    folder.mkdir()
    assert scene_inputs(InputConfig(vipe=str(folder)), True)[0].key == "clip.v1"


@pytest.mark.parametrize(
    ("config", "moving", "words"),
    [
        (InputConfig(), False, "--prompt"),
        (InputConfig(), True, "--vipe_path"),
        (InputConfig(prompt="a dog"), True, "--vipe_path"),
        (InputConfig(image="nowhere.png"), False, "nowhere.png"),
        (InputConfig(image="a", batch="b"), False, "one of them"),
        (InputConfig(batch="nowhere.jsonl"), False, "unreadable"),
    ],
)
def test_missing_and_contradicting_inputs(config: InputConfig, moving: bool, words: str) -> None:
    """A run that goes on without an input, which the original does in silence."""
    with pytest.raises(InputError, match=words):
        scene_inputs(config, moving)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no lines"),
        ("{", "line 1"),
        ("[]", "line 1"),
        ('{"prompt": 3}', "prompt = 3"),
        ('{"text": "a"}', "line 1"),
        ('{"prompt": "a"}\n{"prompt": "a"}', "more than once"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, text: str, words: str) -> None:
    """A batch that skips its bad lines."""
    path = tmp_path / "batch.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        scene_inputs(InputConfig(batch=str(path)), False)


def test_a_picture_that_is_missing_stops_no_other(tmp_path: Path) -> None:
    """A batch that is lost for one of its lines, or a line that is left out without a word."""
    write_picture(tmp_path / "photo.png")
    records = ({"visual_input": name} for name in ("nowhere.png", "photo.png"))
    lines = write_lines(tmp_path / "batch.jsonl", *records)
    missing, there = scene_inputs(InputConfig(batch=str(lines)), False)
    assert there == SceneInput("photo", tmp_path / "photo.png")
    assert missing == SceneInput("nowhere", Path("nowhere.png"))


def test_one_depth_file_is_not_for_many_pictures(tmp_path: Path) -> None:
    """The depth of one picture used for all of a folder."""
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name)
    with pytest.raises(InputError, match="--depth"):
        scene_inputs(InputConfig(image=str(tmp_path), depth="a.npz"), False)


def test_names_of_other_encodings(tmp_path: Path) -> None:
    """A file name that is not UTF-8, which loses the whole folder, or two that become one."""
    for name in (b"caf\xe9.png", b"caf\xe8.png", b"tea.png"):
        write_picture(tmp_path / "a.png").rename(tmp_path / os.fsdecode(name))
    keys = [scene.key for scene in scene_inputs(InputConfig(image=str(tmp_path)), False)]
    assert len(set(keys)) == 3 and keys[2] == "tea"
    for key in keys:
        assert key.isprintable() and len(key.encode()) < 100
        assert key.startswith(("caf_", "tea"))
        ClipPaths(tmp_path, "0", key)


def test_names_do_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clips made again under other names, with other draws, from another directory."""
    for folder in ("dup", "moved/dup"):
        for name in ("a.jpg", "a.png"):
            write_picture(tmp_path / folder / name)
    found = []
    monkeypatch.chdir(tmp_path)
    for folder in ("dup", "./dup/", str(tmp_path / "dup"), "moved/../dup", "moved/dup"):
        scenes = scene_inputs(InputConfig(image=folder), False)
        found.append([scene.key for scene in scenes])
    monkeypatch.chdir(tmp_path / "dup")
    found.append([scene.key for scene in scene_inputs(InputConfig(image="."), False)])
    assert len(set(found[0])) == 2 and all(keys == found[0] for keys in found)


def test_a_link_is_named_after_itself(tmp_path: Path) -> None:
    """Clips named after the blob that a cache keeps under its digest."""
    write_picture(tmp_path / "x.png").rename(tmp_path / "8c1f77")
    (tmp_path / "kitchen.jpg").symlink_to("8c1f77")
    (scene,) = scene_inputs(InputConfig(image=str(tmp_path / "kitchen.jpg")), False)
    assert scene.key == "kitchen"


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\u0085"])
def test_a_line_ends_with_its_own_sign_alone(tmp_path: Path, sign: str) -> None:
    """A prompt that is cut where Python sees the end of a line and JSON does not."""
    text = f"a calm lake {sign}at dawn"
    path = tmp_path / "batch.jsonl"
    lines = [json.dumps({"prompt": f"{text} {n}"}, ensure_ascii=False) for n in range(2)]
    path.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    scenes = scene_inputs(InputConfig(batch=str(path)), False)
    assert [scene.prompt for scene in scenes] == [f"{text} 0", f"{text} 1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (r'{"prompt": "half a \ud83d character"}', "line 1.*whole characters"),
        ("[" * 100_000, "line 1.*nested"),
        (r'{"visual_input": "a\u0000b.png"}', "line 1.*a path"),
        ('{"visual_input": "' + "x" * 5000 + '"}', "line 1.*a path"),
        ('{"visual_input": "~nobody_of_this_name/a.png"}', "line 1.*a path"),
        ('{"prompt": "a", "prompt": "b"}', "line 1.*twice"),
        ('{"prompt": ' + "9" * 5000 + "}", "line 1.*malformed"),
    ],
)
def test_hostile_lines_are_named(tmp_path: Path, text: str, words: str) -> None:
    """Tracebacks of the JSON reader, the encoder of text and the file system."""
    path = tmp_path / "batch.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        scene_inputs(InputConfig(batch=str(path)), False)


def test_a_folder_of_videos_gives_a_scene_for_each(tmp_path: Path) -> None:
    """Folders that only the command for pictures takes."""
    for name in ("b.MP4", "a.webm", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    scenes = scene_inputs(InputConfig(image=str(tmp_path)), True)
    assert [scene.key for scene in scenes] == ["a", "b"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: got no videos"):
        scene_inputs(InputConfig(image=str(tmp_path / "none")), True)


def test_every_clip_of_a_vipe_result_is_taken(tmp_path: Path) -> None:
    """All but the first clip of a result left out without a word."""
    for name in ("street", "yard"):
        write_vipe(tmp_path / "result", name)
    scenes = scene_inputs(InputConfig(vipe=str(tmp_path / "result")), True)
    assert [scene.key for scene in scenes] == ["street", "yard"]
    assert all(scene.path is not None and scene.path.is_file() for scene in scenes)

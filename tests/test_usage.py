"""Options where people type them, and messages that say what to type."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Call, textured
from PIL import Image


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "notes.txt").write_text("words")
    return tmp_path


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_stands_before_a_command_or_behind_it(flag: str, empty: Path, tiny_weights: Path, call: Call) -> None:
    scan = ("scan", str(empty), "--json", "--weights", str(tiny_weights))
    assert "no pictures found" in call(*scan)[2]
    for words in ((flag, *scan), (*scan, flag), (scan[0], flag, *scan[1:])):
        assert call(*words)[2] == ""
    assert "no pictures found" in call(*scan)[2]


def test_debug_stands_behind_a_command_too(call: Call) -> None:
    from nsnet_cli.errors import UsageError

    assert call("explain-warning", "nonsense")[0] == 2
    for words in (("--debug", "explain-warning", "nonsense"), ("explain-warning", "nonsense", "--debug")):
        with pytest.raises(UsageError):
            call(*words)
    assert call("weights", "list", "--debug", "-q")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("scan --forma json x.jpg", "No such option: --forma. Did you mean --format?"),
        ("photo.jpg", "No such command 'photo.jpg'. Did you mean nsnet scan photo.jpg?"),
        ("explain-warning few_patch", "no warning is called 'few_patch'; did you mean few_patches? There are"),
        ("scan --qiet x.jpg", "Did you mean --quiet?"),
        ("scan --treshold 1 x.jpg", "Did you mean --threshold?"),
        ("merge x.jsonl --archives", "It is an option of nsnet scan"),
        ("evaluate x --patches", "It is an option of nsnet scan"),
        ("scna x.jpg", "Did you mean 'scan'"),
        ("scan x.jpg --views many", "'--views': expected a whole number, found 'many'"),
        ("scan x.jpg --views=99", "'--views': expected 1 to 16, found '99'"),
        ("scan x.jpg --threshold high", "'--threshold': expected a number, found 'high'"),
        ("scan x.jpg --max-pixels 0", "'--max-pixels': expected at least 1, found '0'"),
        ("scan x.jpg --format jsn", "'jsn' is not one of 'table', 'json'"),
        ("explain", "Missing argument 'PICTURE'; expected nsnet explain [OPTIONS]"),
        ("report x.jpg", "Missing option '--output'"),
        ("scan --from-file none.txt", "expected a text file with a path a line"),
    ],
)
def test_a_refusal_says_what_to_type(words: str, said: str, call: Call) -> None:
    code, out, err = call(*words.split())
    assert code == 2 and out == "" and said in err and "Traceback" not in err
    assert "nsnet: " in err and "python -m" not in err


def test_remarks_stay_where_nobody_is_quiet(tmp_path: Path, tiny_weights: Path, call: Call) -> None:
    Image.fromarray(textured(240, 240)).save(tmp_path / "a.png")
    code, _, err = call("scan", str(tmp_path / "a.png"), "none.jpg", "--format", "csv", "--weights", str(tiny_weights))
    assert code == 3 and "2 pictures" in err


@pytest.mark.parametrize("group", ["", "weights", "nullspace", "profiles"])
def test_lists_of_commands_give_whole_sentences(group: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, said, _ = call(*group.split(), "-h")
    assert code == 0
    listed = said.split("Commands:\n")[1]
    assert "..." not in listed and listed.rstrip().endswith(".")
    assert max(map(len, listed.splitlines())) <= 80

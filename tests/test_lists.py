"""Lists and tables as people's tools write them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from conftest import Call, textured
from PIL import Image

from nsnet_cli.errors import UsageError
from nsnet_cli.evaluation.labelled import WITHOUT_GENERATORS, find_labelled, read_manifest
from nsnet_cli.inputs.written_text import listed_paths

PATHS = ["a.jpg", "sub folder/ü.jpg", "c.jpg"]
LIST = "\n".join(PATHS) + "\n"


@pytest.mark.parametrize("size", [1, 3, 65_536])
@pytest.mark.parametrize(
    "data",
    [
        LIST.encode(),
        LIST.encode("utf-8-sig"),
        LIST.encode("utf-16"),
        b"\xfe\xff" + LIST.encode("utf-16-be"),
        LIST.encode("utf-32"),
        LIST.replace("\n", "\r\n").encode("utf-8-sig"),
        LIST.replace("\n", "\r\n").encode("utf-16"),
        LIST.rstrip().encode(),
        "".join(f'"{path}"\r\n\r\n' for path in PATHS).encode("utf-16"),
    ],
    ids=["utf-8", "mark", "utf-16-le", "utf-16-be", "utf-32", "crlf", "utf-16-crlf", "no end", "quoted"],
)
def test_lists_are_read_however_they_are_written(data: bytes, size: int) -> None:
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert list(listed_paths(pieces, null=False)) == PATHS


def test_a_list_without_a_mark_is_bytes() -> None:
    assert list(listed_paths([b"caf\xe9.jpg\n"], null=False)) == ["caf\udce9.jpg"]
    assert list(listed_paths([b"a\nb.jpg\0\xff\xfe.jpg\0"], null=True)) == ["a\nb.jpg", "\udcff\udcfe.jpg"]
    with pytest.raises(UsageError, match="--null"):
        list(listed_paths([b"a.jpg\0b.jpg\0"], null=False))


def test_quotes_that_are_in_the_name_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / '"a.jpg"').touch()
    lines = b'"a.jpg"\n"b.jpg"\n\'c d.jpg\'\n"\n'
    assert list(listed_paths([lines], null=False)) == ['"a.jpg"', "b.jpg", "c d.jpg", '"']


def test_paths_of_a_list_are_there_as_soon_as_they_are_written() -> None:
    given = []

    def pieces():  # type: ignore[no-untyped-def]
        for piece in (b"a\n", b"b\n"):
            given.append(piece)
            yield piece

    paths = listed_paths(pieces(), null=False)
    assert next(paths) == "a" and given == [b"a\n"]


@pytest.mark.parametrize("column", ["path", "file_name", "filename", "image"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_manifests_are_read_however_they_are_written(
    column: str, delimiter: str, encoding: str, tmp_path: Path
) -> None:
    rows = [(column, "label", "generator"), ("a, b.jpg", "1", "mill;one"), ("c.jpg", "0", "camera")]
    with (tmp_path / "m.csv").open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    pictures = read_manifest(tmp_path / "m.csv", None)
    assert [(p.name, p.label, p.group) for p in pictures] == [("a, b.jpg", 1, "mill;one"), ("c.jpg", 0, "camera")]


def test_without_generators_all_generated_pictures_are_one_group(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("filename;label;source\na.jpg;1;\nb.jpg;1;\nc.jpg;0;museum\nd.jpg;0;\n")
    found = find_labelled(tmp_path / "m.csv")
    assert found.layout == WITHOUT_GENERATORS
    assert [p.group for p in found.pictures] == ["generated", "generated", "museum", "real"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file;label\na.jpg;fake\n", "0 .real. or 1 .generated., found 'fake'"),
        ("a;b\n1;2\n", "lacks the columns path, label; found a, b; expected"),
        ("path,label\n,1\n", "m.csv:2: no path in the column path"),
    ],
)
def test_a_manifest_that_cannot_be_read_says_what_was_expected(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UsageError, match=said):
        find_labelled(tmp_path / "m.csv")


def test_tables_for_excel_and_json_converted(call: Call, tiny_weights: Path, tmp_path: Path) -> None:
    Image.fromarray(textured(240, 240)).save(tmp_path / "=cmd ü.png")
    weights = ("--weights", str(tiny_weights))
    (tmp_path / "list.txt").write_text(f'"{tmp_path / "=cmd ü.png"}"\r\nnone.jpg\r\n', encoding="utf-16")
    document, table = tmp_path / "out.json", tmp_path / "out.csv"
    assert call("scan", "--from-file", str(tmp_path / "list.txt"), "-o", str(document), *weights)[0] == 3
    assert call("scan", "--from-file", str(tmp_path / "list.txt"), "-o", str(table), "--csv-bom", *weights)[0] == 3
    assert table.read_bytes().startswith(b"\xef\xbb\xbfpath,")
    assert call("convert", str(document), "-o", str(tmp_path / "again.csv"), "--csv-bom")[0] == 0
    once, again = (list(csv.DictReader(path.open(encoding="utf-8-sig"))) for path in (table, tmp_path / "again.csv"))
    for row in (*once, *again):
        row.pop("scanned_at"), row.pop("elapsed_ms")
    assert once == again and len(once) == 2
    assert call("convert", str(document), "-o", str(tmp_path / "rows.jsonl"))[0] == 0
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert [row["path"] for row in rows] == [str(tmp_path / "=cmd ü.png"), "none.jpg"]
    refused = call("convert", str(table), "-o", str(tmp_path / "no.csv"))
    assert refused[0] == 2 and ".jsonl" in refused[2]
    (tmp_path / "other.json").write_text('{\n "results": []\n}')
    assert call("convert", str(tmp_path / "other.json"), "-o", str(tmp_path / "no.csv"))[0] == 2
    refused = call("scan", "none.jpg", "--csv-bom", "--json", *weights)
    assert refused[0] == 2 and "--format csv" in refused[2]


def test_the_exact_path_is_in_json_where_a_cell_was_disarmed(
    call: Call, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(textured(240, 240)).save("=1+1.png")
    weights = ("--weights", str(tiny_weights))
    cell = next(csv.DictReader(call("scan", "=1+1.png", "--format", "csv", *weights)[1].splitlines()))["path"]
    exact = json.loads(call("scan", "=1+1.png", "--json", *weights)[1])["results"][0]["path"]
    assert cell == "'=1+1.png" and exact == "=1+1.png"


def test_the_lists_that_were_handed_in(shared: Path) -> None:
    folder = shared / "cases" / "lists"
    if not folder.is_dir():
        pytest.skip("needs the cases")
    for path in folder.iterdir():
        assert list(listed_paths([path.read_bytes()], null=False)) == ["CASIA2/Au/Au_0.jpg", "CASIA2/Tp/Tp_0.jpg"]

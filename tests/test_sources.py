"""Archives and tables: their pictures give the rows that the unpacked files give."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archived import LIMITS, OTHERS, PICTURES, TARS, add, found, jpeg, write_tar, write_zip

from nsnet_cli.errors import InputError
from nsnet_cli.inputs.discover import WalkCount, WalkOptions, find_pictures
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.inputs.sources import archives, read_source, stat_source
from nsnet_cli.inputs.sources.address import Address
from nsnet_cli.results.document import nanoseconds_utc
from nsnet_cli.results.journal import unchanged_by_hash, unchanged_by_stat


@pytest.fixture(params=[*TARS, "tar.zst", "zip"])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    members = {**PICTURES, **OTHERS}
    path = tmp_path / f"shard.{request.param}"
    if request.param == "zip":
        return write_zip(path, members)
    if request.param == "tar.zst":
        zstandard = pytest.importorskip("zstandard")
        plain = write_tar(tmp_path / "plain.tar", members).read_bytes()
        path.write_bytes(zstandard.ZstdCompressor().compress(plain))
        return path
    return write_tar(path, members, TARS[request.param])


def test_pictures_of_an_archive_are_found_and_read_in_any_order(archive: Path) -> None:
    count = WalkCount()
    addresses = list(find_pictures([str(archive)], WalkOptions(), count))
    assert addresses == [f"{archive}!{name}" for name in PICTURES]
    assert count.skipped == 1  # the notes; hidden ones are not counted, as on walks
    for address in [*addresses, *reversed(addresses)]:
        name = address.removeprefix(f"{archive}!")
        assert read_source(address, LIMITS) == PICTURES[name]
    assert stat_source(addresses[0]).mtime_ns == os.stat(archive).st_mtime_ns
    with pytest.raises(InputError, match="no such member") as refused:
        read_source(f"{archive}!none.jpg", LIMITS)
    assert refused.value.code == "not_found"


def test_globs_hold_for_members(archive: Path) -> None:
    assert found(archive, include=["b/*"], exclude=["* *"]) == [f"{archive}!b/c.jpg"]


def test_a_tar_of_the_current_folder_is_like_any_other(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {f"./{name}": data for name, data in PICTURES.items()})
    assert found(path, include=["b/*"], exclude=["* *"]) == [f"{path}!./b/c.jpg"]
    assert f"{path}!./b/c.jpg" not in found(path, exclude=["b/*"])


def test_a_tar_whose_first_member_is_named_like_a_signature(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"IMG_RED1.jpg": jpeg(1), "a/moov.jpg": jpeg(2)})
    assert found(path) == [f"{path}!IMG_RED1.jpg", f"{path}!a/moov.jpg"]


def test_archives_in_directories_are_opened_on_request_alone(archive: Path) -> None:
    for other in archive.parent.glob("plain.tar"):
        other.unlink()
    assert found(archive.parent) == []
    assert len(found(archive.parent, archives=True)) == len(PICTURES)


def test_a_file_named_like_a_member_is_that_file(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", {"a.jpg": jpeg(1)})
    (tmp_path / "x.zip!a.jpg").write_bytes(jpeg(9))
    assert read_source(str(tmp_path / "x.zip!a.jpg"), LIMITS) == jpeg(9)
    assert Address.parse(str(tmp_path / "none.zip!a.jpg")).member is None


def test_a_zip_with_something_before_it(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": jpeg(1)})
    path.write_bytes(b"PK00" + path.read_bytes())
    assert found(path) == [f"{path}!a.jpg"] and read_source(f"{path}!a.jpg", LIMITS) == jpeg(1)


def test_a_member_with_holes_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("holes.jpg")
        member.size, member.pax_headers = len(jpeg(1)), {"GNU.sparse.size": "200000", "GNU.sparse.map": "0,10"}
        archive.addfile(member, io.BytesIO(jpeg(1)))
        member = tarfile.TarInfo("a.jpg")
        member.size = len(jpeg(2))
        archive.addfile(member, io.BytesIO(jpeg(2)))
    assert found(path) == [f"{path}!holes.jpg", f"{path}!a.jpg"]
    with pytest.raises(InputError, match="with holes") as refused:
        read_source(f"{path}!holes.jpg", LIMITS)
    assert refused.value.code == "unsupported_format" and read_source(f"{path}!a.jpg", LIMITS) == jpeg(2)


def test_the_mark_in_an_archives_own_name(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "Party!.zip", {"a.jpg": jpeg(1)})
    (tmp_path / "Party").write_text("a list of guests")
    assert found(path) == [f"{path}!a.jpg"]
    assert read_source(f"{path}!a.jpg", LIMITS) == jpeg(1)


@pytest.mark.parametrize("name", ["../../x.jpg", "/etc/x.jpg", "C:\\x.jpg", "a/..\\x.jpg"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_hostile_name_is_an_error_of_its_member_alone(name: str, kind: str, tmp_path: Path) -> None:
    members = {name: jpeg(1), "good.jpg": jpeg(2)}
    path = (write_zip if kind == "zip" else write_tar)(tmp_path / f"hostile.{kind}", members)
    hostile, good = found(path)
    with pytest.raises(InputError) as refused:
        read_source(hostile, LIMITS)
    assert refused.value.code == "unsafe_name"
    assert read_source(good, LIMITS) == jpeg(2)


def test_bombs_are_refused_before_they_unfold(tmp_path: Path) -> None:
    bomb = write_zip(tmp_path / "bomb.zip", {"bomb.jpg": jpeg(1) + bytes(50_000_000), "good.jpg": jpeg(2)})
    assert bomb.stat().st_size < 100_000
    large, good = found(bomb)
    with pytest.raises(InputError, match="max-bytes") as refused:
        read_source(large, DecodeLimits(max_bytes=1_000_000))
    assert refused.value.code == "too_large"
    assert read_source(good, LIMITS) == jpeg(2)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", *TARS])
def test_members_of_one_name_are_all_read_each_under_one_of_its_own(kind: str, tmp_path: Path) -> None:
    names = ["a.jpg", "a.jpg", "a (2).jpg", "a.jpg", "sub.b/c", "sub.b/c", "../x.jpg", "../x.jpg"]
    path = tmp_path / f"twice.{kind}"
    with zipfile.ZipFile(path, "w") if kind == "zip" else tarfile.open(path, TARS[kind]) as packed:  # type: ignore[call-overload]
        for seed, name in enumerate(names):
            packed.writestr(name, jpeg(seed)) if isinstance(packed, zipfile.ZipFile) else add(packed, name, jpeg(seed))
    own = ["a.jpg", "a (2).jpg", "a (2) (2).jpg", "a (3).jpg", "sub.b/c", "sub.b/c (2)", "../x.jpg"]
    if kind == "zip":  # whose directory says beforehand which names there are
        own[1:4] = "a (3).jpg", "a (2).jpg", "a (4).jpg"
    assert found(path) == [f"{path}!{name}" for name in own]
    # In any order, and each by a process that opens the archive anew.
    for seed in reversed(range(6)):
        assert read_source(f"{path}!{own[seed]}", LIMITS) == jpeg(seed)


def test_a_zip_that_lies_about_a_size_gives_no_more_than_it_said(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "lies.zip", {"a.jpg": jpeg(1) + bytes(3_000_000), "good.jpg": jpeg(2)})
    size = (len(jpeg(1)) + 3_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1000).to_bytes(4, "little")))
    lying, good = found(path)
    with pytest.raises(InputError) as refused:
        read_source(lying, LIMITS)
    assert refused.value.code == "truncated"
    assert read_source(good, LIMITS) == jpeg(2)


def test_a_compressed_tar_is_not_unfolded_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_FREE", 1_000_000)
    path = write_tar(tmp_path / "bomb.tar.gz", {"a.jpg": jpeg(1), "zeros": bytes(40_000_000), "b.jpg": jpeg(2)}, "w:gz")
    first, whole = found(path)
    assert read_source(first, LIMITS) == jpeg(1)
    assert whole == f"{path}!"  # a row says that something was left out
    with pytest.raises(InputError) as refused:
        read_source(whole, LIMITS)
    assert refused.value.code == "truncated"


def test_of_a_truncated_tar_the_cut_member_alone_is_lost(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "cut.tar", {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    path.write_bytes(path.read_bytes()[: 512 + (len(jpeg(1)) + 511) // 512 * 512 + 512 + 600])
    whole, cut = found(path)[:2]
    assert read_source(whole, LIMITS) == jpeg(1)
    with pytest.raises(InputError) as refused:
        read_source(cut, LIMITS)
    assert refused.value.code == "truncated"


@pytest.mark.parametrize("kind", ["tar.gz", "tar.xz", "tar.zst"])
def test_of_a_cut_compressed_tar_what_can_be_unpacked_is_read(kind: str, tmp_path: Path) -> None:
    members = {f"{seed}.jpg": jpeg(seed) for seed in range(8)}
    plain = write_tar(tmp_path / "whole.tar", members).read_bytes()
    if kind == "tar.zst":
        packer = pytest.importorskip("zstandard").ZstdCompressor().compressobj()
        cut = packer.compress(plain[:20_000]) + packer.flush(1) + packer.compress(plain[20_000:]) + packer.flush()[:500]
    else:
        cut = (gzip if kind == "tar.gz" else lzma).compress(plain)[:-3_000]
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(cut)
    read, refused = [], []
    for address in found(path):
        try:
            read.append(read_source(address, LIMITS))
        except InputError as error:
            refused.append(error.code)
    assert len(read) >= 4 and read == list(members.values())[: len(read)]
    assert refused and set(refused) == {"truncated"}  # rows say that something was lost


@pytest.mark.parametrize("cut", ["at a member", "in a header", "a flipped bit"])
@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_what_a_damaged_tar_loses_is_said_by_a_row(cut: str, kind: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "damaged.tar", {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    second = 512 + (len(jpeg(1)) + 511) // 512 * 512
    data = bytearray(path.read_bytes())
    data[second + 5] ^= 1
    damaged = {"at a member": data[:second], "in a header": data[: second + 100], "a flipped bit": data}[cut]
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(gzip.compress(damaged) if kind == "tar.gz" else damaged)
    assert found(path) == [f"{path}!a.jpg", f"{path}!"]
    with pytest.raises(InputError) as refused:
        read_source(f"{path}!b.jpg", LIMITS)
    assert refused.value.code == "truncated"


def hostile_archives() -> dict[str, bytes]:
    """Files that made readers crash or never end."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("tiny", b"II*")
        archive.writestr("a.jpg", jpeg(1))
    version = bytearray(packed.getvalue())
    version[version.rindex(b"PK\1\2") + 6] = 99
    squeezed = io.BytesIO()
    with zipfile.ZipFile(squeezed, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a.jpg", bytes(1000))

    def header(size: bytes, kind: bytes = b"0") -> bytes:
        block = bytearray(tarfile.TarInfo("x.jpg").tobuf())
        block[124:136], block[156:157], block[148:156] = size, kind, b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        return bytes(block)

    return {
        "few-bytes.zip": packed.getvalue(),
        "version.zip": bytes(version),
        "bzip2.zip": squeezed.getvalue(),
        "backwards.tar": header(b"\xff" * 10 + b"\xfe\0") + bytes(1024),
        "long-name.tar": header(b"\x80" + b"\x40" + bytes(10), b"L") + bytes(1024),
        "links.tar": header(b"00000000001\0", b"L") * 3000,
        "garbage.tar.zst": b"\x28\xb5\x2f\xfd" + bytes(range(200)),
        "garbage.tar.gz": b"\x1f\x8b\x08" + bytes(range(200)),
        "garbage.parquet": b"PAR1" + bytes(range(200)) + b"PAR1",
    }


@pytest.mark.parametrize("name", hostile_archives())
def test_hostile_archives_end_in_rows_of_their_own(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(hostile_archives()[name])
    for address in found(path):
        with contextlib.suppress(InputError):
            read_source(address, DecodeLimits(max_bytes=10_000))
    assert found(path) or name == "backwards.tar"
    assert found(tmp_path, archives=True) == found(path)


def test_a_picture_with_the_mark_of_an_archive_in_it_stays_a_picture(tmp_path: Path) -> None:
    data = bytearray(jpeg(1))
    comment = b"\xff\xfe" + (300).to_bytes(2, "big") + bytes(298)
    data[2:2] = comment
    data[257:262] = b"ustar"
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    assert found(path) == [str(path)]
    assert read_source(str(path), LIMITS) == bytes(data)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_in_a_directory_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    assert found(tmp_path, archives=True) == []


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(1))
    path.chmod(0)
    assert found(path) == [str(path)]


def test_globs_of_pictures_do_not_hide_their_archives(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", PICTURES)
    write_zip(tmp_path / "b.zip", PICTURES)
    inside = found(tmp_path, archives=True, include=["a.jpg"], exclude=["b.zip"])
    assert inside == [f"{tmp_path / 'a.zip'}!a.jpg"]


def test_links_in_a_tar_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(7))
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tar:
        add(tar, "link.jpg", b"", type=tarfile.SYMTYPE, linkname=str(secret))
        add(tar, "a.jpg", jpeg(1))
    assert found(path) == [f"{path}!a.jpg"]


def test_rows_of_members_are_up_to_date_until_their_archive_changes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a.jpg": jpeg(1)})
    address = f"{path}!a.jpg"
    row = {
        "path": address,
        "bytes": len(jpeg(1)),
        "sha256": hashlib.sha256(jpeg(1)).hexdigest(),
        "modified_at": nanoseconds_utc(stat_source(address).mtime_ns),
    }
    assert unchanged_by_stat(row) and unchanged_by_hash(row)
    write_zip(path, {"a.jpg": jpeg(1), "b.jpg": jpeg(2)})
    os.utime(path, ns=(0, 0))
    assert not unchanged_by_stat(row) and unchanged_by_hash(row)
    write_zip(path, {"a.jpg": jpeg(2)})
    assert not unchanged_by_hash(row)


@pytest.mark.parametrize("hugging_face", [True, False])
def test_a_parquet_table(hugging_face: bool, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    data = [jpeg(k) for k in range(20)] + [None, b"no picture"]
    cells = [{"bytes": d, "path": "x.jpg"} for d in data] if hugging_face else data
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table({"image": cells, "label": list(range(22))}), path, row_group_size=7)
    addresses = found(path)
    assert addresses == [f"{path}!image/{row}" for row in range(22)]
    for row in (0, 19, 3, 4):
        assert read_source(addresses[row], LIMITS) == data[row]
    with pytest.raises(InputError, match="no picture"):
        read_source(addresses[20], LIMITS)
    for column in ("photo", "label"):
        # A row that says so: other inputs go on.
        assert found(path, column=column) == [f"{path}!{column}/0"]
        with pytest.raises(
            InputError, match=f"no column '{column}' of pictures.*columns: image .*, label .int64."
        ) as no:
            read_source(f"{path}!{column}/0", LIMITS)
        assert no.value.code == "not_found"


def test_a_parquet_table_of_views(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "views.parquet"
    pq.write_table(pa.table({"image": pa.array([jpeg(1), jpeg(2)], pa.binary_view())}), path)
    assert [read_source(address, LIMITS) for address in found(path)] == [jpeg(1), jpeg(2)]


def test_a_scan_of_a_tar_gives_the_rows_of_its_files(run_nsnet: Callable[..., object], tmp_path: Path) -> None:
    folder = tmp_path / "files"
    for name, data in PICTURES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    shard = write_tar(tmp_path / "shard.tar.gz", {**PICTURES, "../x.jpg": jpeg(1)}, "w:gz")
    unpacked, packed = (
        json.loads(run_nsnet("scan", str(source), "--json", "--workers", "2").stdout)["results"]  # type: ignore[attr-defined]
        for source in (folder, shard)
    )
    rows = {row["path"].removeprefix(f"{folder}/"): row for row in unpacked}
    assert packed[-1]["error"]["code"] == "unsafe_name"
    for row in packed[:-1]:
        other = rows.pop(row["path"].removeprefix(f"{shard}!"))
        assert row["score"] == pytest.approx(other["score"], abs=1e-3)  # pictures share batches by chance
        for field in ("sha256", "bytes", "format", "verdict"):
            assert row[field] == other[field]
    assert not rows

"""Objects on the web and in buckets, and archives there, from servers on this machine alone."""

from __future__ import annotations

import functools
import http.server
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from archived import LIMITS, OTHERS, PICTURES, add, found, jpeg, write_zip

from nsnet_cli.errors import InputError, UsageError
from nsnet_cli.inputs.limits import DecodeLimits
from nsnet_cli.inputs.sources import read_source, remote, stat_source


class Flaky(http.server.SimpleHTTPRequestHandler):
    """Serves files; the first ``failures`` answers are the error ``status``, to whatever was asked."""

    failures, status = 0, 500

    def do_GET(self) -> None:
        if not self._failed():
            super().do_GET()

    def do_HEAD(self) -> None:
        if not self._failed():
            super().do_HEAD()

    def _failed(self) -> bool:
        if type(self).failures <= 0:
            return False
        type(self).failures -= 1
        self.send_error(type(self).status)
        return True

    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote, "_PAUSES", (0.0, 0.0, 0.0))
    Flaky.failures, Flaky.status = 0, 500
    handler = functools.partial(Flaky, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_pictures_over_http_and_through_errors_of_the_server(site: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    write_zip(tmp_path / "shard.zip", PICTURES)
    assert found(f"{site}/a.jpg") == [f"{site}/a.jpg"]
    assert found(f"{site}/shard.zip") == [f"{site}/shard.zip!{name}" for name in PICTURES]
    assert read_source(f"{site}/shard.zip!b/c.jpg", LIMITS) == PICTURES["b/c.jpg"]
    assert read_source(f"{site.replace('http', 'HTTP')}/a.jpg", LIMITS) == jpeg(1)
    Flaky.failures = 2
    assert read_source(f"{site}/a.jpg", LIMITS) == jpeg(1)
    with pytest.raises(InputError) as refused:
        read_source(f"{site}/none.jpg", LIMITS)
    assert refused.value.code == "not_found"
    with pytest.raises(InputError) as refused:
        read_source(f"{site}/a.jpg", DecodeLimits(max_bytes=100))
    assert refused.value.code == "too_large"


@pytest.mark.parametrize(
    ("status", "code"),
    [(500, "network"), (429, "network"), (403, "permission"), (404, "not_found"), (410, "not_found")],
)
def test_what_a_server_says_for_good_is_told_apart(site: str, tmp_path: Path, status: int, code: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    Flaky.failures, Flaky.status = 100, status
    with pytest.raises(InputError) as refused:
        read_source(f"{site}/a.jpg", LIMITS)
    assert refused.value.code == code


def test_a_server_that_is_not_there_is_no_missing_picture(site: str) -> None:
    with pytest.raises(InputError) as refused:
        read_source("http://127.0.0.1:1/a.jpg", LIMITS)
    assert refused.value.code == "network"


def test_a_scheme_whose_package_is_missing_says_what_to_install() -> None:
    with pytest.raises(UsageError, match=r"nsnet-cli\[gcs\]"):
        found("gs://bucket/")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket of a server that speaks S3's protocol, on this machine alone."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }  # fmt: skip
    fs = s3fs.S3FileSystem()
    fs.mkdir("photos")
    for name, data in {**PICTURES, **OTHERS}.items():
        fs.pipe(f"photos/2024/{name}", data)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name, data in PICTURES.items():
            add(archive, name, data)
    fs.pipe("photos/shards/0.tar", tar.getvalue())
    fs.invalidate_cache()
    yield "s3://photos"
    server.stop()
    os.environ.clear()
    os.environ.update(before)


def test_a_bucket_is_listed_and_read(bucket: str) -> None:
    names = sorted(PICTURES)
    assert sorted(found(f"{bucket}/2024/")) == [f"{bucket}/2024/{name}" for name in names]
    assert found(f"{bucket}/2024/*.jpg") == [f"{bucket}/2024/{name}" for name in names if "/" not in name]
    assert read_source(f"{bucket}/2024/a.jpg", LIMITS) == PICTURES["a.jpg"]
    assert stat_source(f"{bucket}/2024/a.jpg").size == len(PICTURES["a.jpg"])
    assert stat_source(f"{bucket}/2024/a.jpg").mtime_ns is not None
    with pytest.raises(InputError) as refused:
        read_source(f"{bucket}/2024/none.jpg", LIMITS)
    assert refused.value.code == "not_found"
    inside = found(f"{bucket}/shards/0.tar")
    assert inside == [f"{bucket}/shards/0.tar!{name}" for name in PICTURES]
    assert [read_source(address, LIMITS) for address in inside] == list(PICTURES.values())
    assert len(found(f"{bucket}/shards/", archives=True)) == len(PICTURES)
    assert found("s3a://photos/2024/", include=["b/*"]) == [f"s3a://photos/2024/{n}" for n in names if "/" in n]


def test_of_a_large_archive_in_a_bucket_ranges_are_read(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_WHOLE", 0)
    monkeypatch.setattr(remote, "_RANGE", 1000)
    inside = found(f"{bucket}/shards/0.tar")
    assert len(inside) == len(PICTURES)
    for address in reversed(inside):
        assert read_source(address, LIMITS) == PICTURES[address.partition("!")[2]]


def test_an_object_that_is_not_there(bucket: str) -> None:
    with pytest.raises(InputError) as refused:
        read_source(f"{bucket}/2024/none.jpg", LIMITS)
    assert refused.value.code == "not_found"

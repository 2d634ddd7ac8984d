"""A scan of pictures in a bucket: the same rows as from the disk, also where the network fails.

    python benchmarks/object_storage.py [--count 500]

Pictures are made, put into a server that speaks S3's protocol on this machine (moto's), and scanned three times: from
the disk, from the bucket, and from the bucket through a proxy that answers some requests with an error 500 and cuts
others off in the middle of the body.  Scores hang on the pixels in place of the network (`benchmarks/batch.py`), which
is not what is tried here.  Prints a JSON object, and ends with 1 where a row is missing, twice there, or another.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

_BUCKET = "pictures"
# One request in so many fails; half of those with an error, half by a cut connection.
_ONE_IN = 12
_SAME = ("sha256", "bytes", "format", "width", "height", "verdict", "score", "error")
_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length"}


class FaultyProxy(BaseHTTPRequestHandler):
    """Passes GET and HEAD on to ``target``; some, drawn by ``rng``, it answers with an error or cuts off."""

    target = ""
    rng = Random(0)
    one_in = _ONE_IN
    errors = cuts = 0
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind = type(self)
        drawn = kind.rng.random() * kind.one_in
        if drawn < 0.5:
            kind.errors += 1
            self.send_error(500)
            return
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOP_BY_HOP}
        request = urllib.request.Request(self.target + self.path, headers=headers, method=self.command)
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            length = answer.headers.get("Content-Length") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
        if drawn < 1.0 and body:
            kind.cuts += 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *said: object) -> None:
        pass


@contextmanager
def faulty(target: str, one_in: int = _ONE_IN) -> Iterator[tuple[str, type[FaultyProxy]]]:
    """Address of a proxy before ``target``, and the class that counts what it did."""
    handler = type("Proxy", (FaultyProxy,), {"target": target, "rng": Random(0), "one_in": one_in})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    count = parser.parse_args().count
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder / "in", count)
        _put(folder / "in", address)
        found: dict[str, Any] = {"pictures": count}
        local, found["seconds_disk"] = _scan(folder, [str(folder / "in")], "disk", address)
        plain, found["seconds_bucket"] = _scan(folder, [f"s3://{_BUCKET}/"], "bucket", address)
        with faulty(address) as (through, proxy):
            broken, found["seconds_bucket_with_faults"] = _scan(folder, [f"s3://{_BUCKET}/"], "faults", through)
        found |= {"errors_injected": proxy.errors, "connections_cut": proxy.cuts}
    found["same_rows"] = plain == local
    found["same_rows_with_faults"] = broken == local
    server.stop()
    print(json.dumps(found, indent=2))
    return 0 if found["same_rows"] and found["same_rows_with_faults"] and len(local) == count else 1


def _make(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        noise = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((336, 288), Image.Resampling.BICUBIC).save(folder / f"{k:05d}.jpg", quality=90)


def _put(folder: Path, address: str) -> None:
    import s3fs

    fs = s3fs.S3FileSystem(key="test", secret="test", endpoint_url=address, skip_instance_cache=True)
    fs.mkdir(_BUCKET)
    for path in sorted(folder.iterdir()):
        fs.pipe(f"{_BUCKET}/{path.name}", path.read_bytes())


def _scan(folder: Path, inputs: list[str], name: str, address: str) -> tuple[dict[str, Any], float]:
    """Rows by the last part of the path; a row that is there twice spoils its entry."""
    output = folder / f"{name}.jsonl"
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }  # fmt: skip
    batch = Path(__file__).with_name("batch.py")
    command = [sys.executable, str(batch), "_scan", *inputs, "-o", str(output), "--no-provenance"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = round(time.perf_counter() - began, 1)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    rows: dict[str, Any] = {}
    for line in output.read_text("utf-8").splitlines():
        row = json.loads(line)
        key = row["path"].rpartition("/")[2]
        rows[key] = "twice" if key in rows else {field: row[field] for field in _SAME}
    return rows, seconds


if __name__ == "__main__":
    sys.exit(main())

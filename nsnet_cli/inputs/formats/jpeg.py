"""JPEG beside its pixels: quality by its tables, variants that libjpeg does not decode, segments that are no pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

# Sum of the luminance table of ITU-T T.81, annex K.1: quality 50 in the scale of the IJG.
_QUALITY_50_SUM = 3688
_SOI, _SOS, _EOI = 0xD8, 0xDA, 0xD9
# The end of entropy-coded data: any marker but a stuffed zero or a restart.
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_HIERARCHICAL = (0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF)
_LOSSLESS = 0xF7  # of JPEG-LS
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, *_HIERARCHICAL, 0xC9, 0xCA, 0xCB, _LOSSLESS)
# What says that a second picture in the file makes the first brighter: Adobe, Google and ISO 21496-1; Apple.
_GAIN_MAPS = (b"http://ns.adobe.com/hdr-gain-map/", b"urn:iso:std:iso:ts:21496:-1", b"http://ns.apple.com/HDRGainMap/")
_APPLE_AUXILIARY, _TONE_MAPPED = b"urn:com:apple:photo:2020:aux:hdrgainmap", b"tmap"
# What a decoder looks at beside the pixels, and how long it is at least.
_TELLING = {b"JFIF\0": 14, b"Adobe": 12, b"Exif": 14}
_HEIF_HEADER = 1 << 20


def is_jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8\xff")


def jpeg_quality(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Quality on the IJG's scale of 1 to 100 that the luminance table (the first) comes closest to; None without."""
    if not tables:
        return None
    scale = 100.0 * sum(tables[min(tables)]) / _QUALITY_50_SUM
    return max(1, min(100, round(5000.0 / scale if scale > 100.0 else (200.0 - scale) / 2.0)))


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment before the first scan; the last one is the scan, to the file's end."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:  # fill bytes
            at += 1
            continue
        if marker in (_SOS, _EOI):
            yield marker, at, len(data)
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, end
        at = end


def unread_variant(data: bytes) -> str | None:
    """What variant of JPEG this is, where it is one that libjpeg-turbo does not decode to 8 bits."""
    for marker, start, _ in segments(data):
        if marker in _FRAMES:
            if marker == _LOSSLESS:
                return "JPEG-LS"
            if marker in _HIERARCHICAL:
                return "hierarchical JPEG"
            bits = data[start + 4] if len(data) > start + 4 else 8
            return f"JPEG of {bits} bits a sample" if bits in (*range(2, 8), *range(9, 17)) else None
    return None


def _from_first_scan(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and start of each segment from the first scan on; the picture's end, or the file's, is the last."""
    at = next((start for marker, start, _ in segments(data) if marker == _SOS), len(data))
    while at + 4 <= len(data) and data[at + 1] != _EOI:
        yield data[at + 1], at
        following = MARKER.search(data, at + 2 + int.from_bytes(data[at + 2 : at + 4], "big"))
        at = len(data) if following is None else following.start()
    yield _EOI, at


def scans(data: bytes, most: int) -> int:
    """Scans of the picture, up to ``most`` and one more; what stands behind its end, videos too, is none of it."""
    found = (at for marker, at in _from_first_scan(data) if marker == _SOS)
    return sum(1 for _ in islice(found, most + 1))


def has_end(data: bytes) -> bool:
    """Whether the end of the picture is marked, as encoders mark it; True as well where no scan is found."""
    found = list(_from_first_scan(data))
    return len(found) == 1 or found[-1][1] < len(data)


def with_more_behind(data: bytes) -> bytes:
    """The file with bytes behind those of its last scan: a decoder that has had enough passes over them."""
    *_, (_, end) = _from_first_scan(data)
    return data[:end] + b"\xa5" * 64 + data[end:]


def without_metadata(data: bytes) -> bytes:
    """The file with JFIF, Adobe and EXIF segments alone of all that are no pixels, and those where they are whole."""
    kept = [data[:2]]
    for marker, start, end in segments(data):
        body = data[start + 4 : end]
        application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not application or any(body.startswith(name) and len(body) >= least for name, least in _TELLING.items()):
            kept.append(data[start:end])
    return b"".join(kept)


def has_gain_map(data: bytes, file_format: str) -> bool:
    """Whether a JPEG, HEIF or AVIF holds a gain map beside the picture that is decoded."""
    if file_format in ("JPEG", "MPO"):
        return any(sign in data for sign in _GAIN_MAPS)
    if file_format in ("HEIF", "AVIF"):
        head = data[:_HEIF_HEADER]
        return _APPLE_AUXILIARY in head or (_TONE_MAPPED in head[:4096] and b"infe" in head[:4096])
    return False

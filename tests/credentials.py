"""Content credentials of our own making, for tests and for fuzzing."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Sequence
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
CREATED = {"action": "c2pa.created", "digitalSourceType": AI, "softwareAgent": {"name": "Imaginary Painter"}}
EMAIL_PROTECTION, SERVERS = bytes.fromhex("2b06010505070304"), bytes.fromhex("2b06010505070301")
_DAY = datetime.timedelta(days=1)
_OFFLINE = {"verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False}}


class Signer:
    """A signer with a root of its own; ``until`` stands in its certificate as the end of its time."""

    def __init__(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("Test Root", "Test Signer")}

        def certificate(subject: str, end: datetime.timedelta) -> x509.CertificateBuilder:
            def named(name: str) -> x509.Name:
                organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests")
                return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])

            own, root = keys[subject].public_key(), keys["Test Root"].public_key()
            is_root = subject == "Test Root"
            usage = x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False)
            return (
                x509.CertificateBuilder()
                .subject_name(named(subject))
                .issuer_name(named("Test Root"))
                .public_key(own)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - 60 * _DAY)
                .not_valid_after(now + end)
                .add_extension(x509.BasicConstraints(is_root, None), True)
                .add_extension(usage, True)
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root), False)
            )

        root = certificate("Test Root", 30 * _DAY).sign(keys["Test Root"], hashes.SHA256())
        # The last byte says what it is for: 4 is for what is signed, 1 for servers.
        extended = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = certificate("Test Signer", 29 * _DAY).add_extension(extended, False)
        leaf = builder.sign(keys["Test Root"], hashes.SHA256())
        chain, root_pem = (
            b"".join(c.public_bytes(serialization.Encoding.PEM) for c in part) for part in ((leaf, root), (root,))
        )
        private = keys["Test Signer"].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.root = root_pem.decode()
        self.until = f"{now + 29 * _DAY:%y%m%d%H%M%SZ}".encode()
        self._key = keys["Test Signer"]
        self._info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=private, ta_url=None)

    def sign(
        self,
        data: bytes,
        actions: Sequence[dict[str, Any]] = (CREATED,),
        *,
        parents: Sequence[tuple[str, bytes]] = (),
        generator: str = "Imaginary Painter",
        form: str = "image/jpeg",
        assertions: Sequence[dict[str, Any]] = (),
        remote: str | None = None,
    ) -> bytes:
        """``data`` with content credentials; ``parents`` are relationships and files that go in as ingredients."""
        manifest = {
            "claim_generator_info": [{"name": generator, "version": "3"}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}, *assertions],
        }
        out = io.BytesIO()
        with (
            c2pa.Context.from_dict(_OFFLINE) as context,
            c2pa.Builder(json.dumps(manifest), context=context) as builder,
        ):
            for k, (relationship, parent) in enumerate(parents):
                told = json.dumps({"title": f"{relationship}-{k}.jpg", "relationship": relationship})
                builder.add_ingredient(told, "image/jpeg", io.BytesIO(parent))
            if remote is not None:
                builder.set_no_embed()
                builder.set_remote_url(remote)
            builder.sign(c2pa.Signer.from_info(self._info), form, io.BytesIO(data), out)
        return out.getvalue()

    def with_certificate(self, signed: bytes, old: bytes, new: bytes) -> bytes:
        """``signed`` with ``old`` in its certificate replaced by ``new`` of the same length, and signed anew.

        The library refuses to sign with a certificate that has run out or is meant for something else, so one is made
        of a good one: the claim's signature fits, which is all that a file can show of it.
        """
        assert len(old) == len(new) and old in signed
        data = signed.replace(old, new)
        # A JUMBF box: length, type, then CBOR; the claim's follows the last description that names it.
        at = data.rindex(b"cbor", 0, data.index(b"c2pa.signature\0"))
        claim = data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
        start = data.index(b"cbor", data.index(b"c2pa.signature\0")) + 4
        assert data[start : start + 3] == b"\xd2\x84\x59", "COSE_Sign1 with protected headers of two bytes of length"
        size = int.from_bytes(data[start + 3 : start + 5], "big")
        protected = data[start + 5 : start + 5 + size]
        signed_structure = b"\x84\x6aSignature1" + _bytes(protected) + b"\x40" + _bytes(claim)
        r, s = decode_dss_signature(self._key.sign(signed_structure, ec.ECDSA(hashes.SHA256())))
        place = data.index(b"\xf6\x58\x40", start) + 3  # no payload of its own, then 64 bytes
        return data[:place] + r.to_bytes(32, "big") + s.to_bytes(32, "big") + data[place + 64 :]


def _bytes(data: bytes) -> bytes:
    """A byte string in CBOR."""
    return (b"\x59" + len(data).to_bytes(2, "big") if len(data) > 255 else b"\x58" + bytes([len(data)])) + data


def signed_jpeg(jpeg: bytes) -> tuple[bytes, str]:
    """``jpeg`` with content credentials by a signer of our own, and the root certificate in PEM."""
    signer = Signer()
    return signer.sign(jpeg), signer.root

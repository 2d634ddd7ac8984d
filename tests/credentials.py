"""Content credentials of our own making, for tests and for fuzzing."""

from __future__ import annotations

import datetime
import io
import json

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AI = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def signed_jpeg(jpeg: bytes) -> tuple[bytes, str]:
    """``jpeg`` with content credentials by a signer of our own, and the root certificate in PEM."""
    now = datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("Test Root", "Test Signer")}

    def certificate(subject: str) -> x509.CertificateBuilder:
        def named(name: str) -> x509.Name:
            organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Tests")
            return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, name)])

        own, root = keys[subject].public_key(), keys["Test Root"].public_key()
        is_root = subject == "Test Root"
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("Test Root"))
            .public_key(own)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(is_root, None), True)
            .add_extension(x509.KeyUsage(not is_root, False, False, False, False, is_root, is_root, False, False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root), False)
        )

    root = certificate("Test Root").sign(keys["Test Root"], hashes.SHA256())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = certificate("Test Signer").add_extension(usage, False).sign(keys["Test Root"], hashes.SHA256())
    chain, root_pem = (
        b"".join(c.public_bytes(serialization.Encoding.PEM) for c in part) for part in ((leaf, root), (root,))
    )
    private = keys["Test Signer"].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    action = {"action": "c2pa.created", "digitalSourceType": AI, "softwareAgent": {"name": "Imaginary Painter"}}
    manifest = {
        "claim_generator_info": [{"name": "Imaginary Painter", "version": "3"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=private, ta_url=None)
    out = io.BytesIO()
    with c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign(c2pa.Signer.from_info(info), "image/jpeg", io.BytesIO(jpeg), out)
    return out.getvalue(), root_pem.decode()

"""Certificates and keys for a lab's API server: one authority, one server certificate, one key pair that signs ServiceAccount tokens.

Made anew for each lab and valid for days, not years: nothing outside the lab may ever trust them. Private keys are readable by their
owner only. It never reads or replaces certificates that somebody else made.
"""

import csv
import datetime
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID_DAYS = 30
BACKDATE = datetime.timedelta(days=2)
"""A machine whose clock was set back after the lab came up must still accept the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Paths of what make_pki wrote."""

    ca_cert: Path
    cert: Path
    """The server's certificate, PEM."""
    key: Path
    service_account_key: Path
    service_account_public: Path


def make_pki(folder: Path, *, names: Sequence[str]) -> Pki:
    """Write a new authority and what it signs into `folder` (made if missing). `names` are IP addresses and DNS names of the server.

    Raises OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pki = Pki(
        ca_cert=folder / "ca.crt",
        cert=folder / "api.crt",
        key=folder / "api.key",
        service_account_key=folder / "sa.key",
        service_account_public=folder / "sa.pub",
    )
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lhnet lab authority")])
    ca = (
        _certificate(subject=ca_name, issuer=ca_name, public_key=ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server_key = ec.generate_private_key(ec.SECP256R1())
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")])
    server = (
        _certificate(subject=server_name, issuer=ca_name, public_key=server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    # kube-apiserver accepts RSA and ECDSA here; RSA is what its own documentation uses.
    account_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    _write(pki.ca_cert, ca.public_bytes(serialization.Encoding.PEM))
    _write(pki.cert, server.public_bytes(serialization.Encoding.PEM))
    _write(pki.key, _private_pem(server_key), private=True)
    _write(pki.service_account_key, _private_pem(account_key), private=True)
    public = account_key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(pki.service_account_public, public)
    return pki


def _certificate(*, subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _write(path: Path, content: bytes, *, private: bool = False) -> None:
    # Removed first, so that a key is never written into a file that somebody else made readable.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if private else 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def write_tokens(path: Path, users: Mapping[str, tuple[str, Sequence[str]]]) -> None:
    """A token file as kube-apiserver and the embedded API read it: token → user name and groups."""
    lines = [[token, name, name, *([",".join(groups)] if groups else [])] for token, (name, groups) in users.items()]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    _write(path, text.getvalue().encode(), private=True)

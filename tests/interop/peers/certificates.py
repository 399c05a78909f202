"""Makes certificates for the test, in the directory given: ca.pem, which has signed an intermediate authority, which has
signed a server's certificate for interop.example: chain.pem (the server's, then the intermediate's) and key.pem. And
other-ca.pem, which has signed nothing. And long-chain.pem with long-key.pem: a chain of 7500 bytes and more (by an extension that means
nothing), which does not fit into what a server may send to an address that is not validated."""

import datetime
import os
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NOW = datetime.datetime.now(datetime.timezone.utc)


def make(common_name, issuer, authority, names=(), ballast=0):
    """A certificate and its key; issuer is such a pair, or None: signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    issuer_name, issuer_key = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(hours=1))
        .not_valid_after(NOW + datetime.timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )
    if ballast:
        filling = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.55555.1"), os.urandom(ballast))
        builder = builder.add_extension(filling, critical=False)
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(alternatives, critical=False).add_extension(usage, critical=False)
    return builder.sign(issuer_key, hashes.SHA256()), key


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir()
    ca = make("Interop Root", None, True)
    intermediate = make("Interop Intermediate", ca, True)
    server = make("interop.example", intermediate, False, ["interop.example"])

    def write(name, *certificates):
        (directory / name).write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in certificates))

    write("ca.pem", ca[0])
    write("other-ca.pem", make("Another Root", None, True)[0])
    write("chain.pem", server[0], intermediate[0])
    chain = [ca]
    for i in range(4):
        chain.append(make(f"Interop Intermediate {i}", chain[-1], True, ballast=1800))
    leaf = make("interop.example", chain[-1], False, ["interop.example"])
    write("long-chain.pem", leaf[0], *(certificate for certificate, _ in reversed(chain[1:])))
    (directory / "long-key.pem").write_bytes(leaf[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (directory / "key.pem").write_bytes(server[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


main()

"""Certificates for the tests of TLS: an authority that nobody else trusts, and what it signs.

make(directory, openssl) leaves in the directory ca.pem, and a .pem and a .key of each of
    server      for localhost and 127.0.0.1
    expired     the same, but it was valid until yesterday
    wronghost   a server with another's name
    nameless    a server with another's common name only
    common      a server with the common name localhost only
    careless    for localhost, without an identifier of its authority
    client      CN=guest, for the mechanism EXTERNAL
    selfsigned  for localhost, by itself
    stranger    a client, by itself
and client.secret, the client's key encrypted with the passphrase PASSPHRASE.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Optional

from tests.brokers import SUITES, installed

PASSPHRASE = "open sesame"

#: name, common name, extensions, days that it is valid
LEAVES = (
    ("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n", "3650"),
    ("expired", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n", "-1"),
    ("wronghost", "other", "subjectAltName=DNS:other.example,IP:::1\nextendedKeyUsage=serverAuth\n", "3650"),
    ("nameless", "other", "extendedKeyUsage=serverAuth\n", "3650"),
    ("common", "localhost", "extendedKeyUsage=serverAuth\n", "3650"),
    ("careless", "localhost", "subjectAltName=DNS:localhost\n", "3650"),
    ("client", "guest", "extendedKeyUsage=clientAuth\n", "3650"),
)
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
VALID = ("-days", "3650")


def find_openssl() -> Optional[str]:
    """The program: the machine's, or that of a RabbitMQ that was unpacked for the tests."""
    places = [os.environ.get("PATH", os.defpath)]
    places += [str(root / "usr/bin") for root in map(installed, SUITES) if root]
    return shutil.which("openssl", path=os.pathsep.join(places))


def make(directory: Path, openssl: str = "openssl") -> None:
    """RuntimeError says which command failed, and why."""
    # A configuration of our own: openssl req wants one, and that of the machine may say anything.
    config = directory / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name = name\n[name]\n")
    environment = {"PATH": os.environ.get("PATH", os.defpath), "OPENSSL_CONF": str(config)}

    def run(*arguments: str) -> None:
        command = [openssl, *arguments]
        where, pipe = str(directory), subprocess.PIPE
        done = subprocess.run(command, cwd=where, env=environment, stdout=pipe, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise RuntimeError("%s failed:\n%s" % (" ".join(command), done.stdout))

    run(
        *("req", "-x509", *NEW_KEY, *VALID, "-subj", "/CN=amqplib test CA", "-keyout", "ca.key", "-out", "ca.pem"),
        *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-addext", "subjectKeyIdentifier=hash"),
    )
    for who, common_name, extensions, days in LEAVES:
        extensions += "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\n"
        extensions += "authorityKeyIdentifier=%s\n" % ("none" if who == "careless" else "keyid")
        (directory / (who + ".ext")).write_text(extensions)
        run("req", *NEW_KEY, "-subj", "/CN=" + common_name, "-keyout", who + ".key", "-out", who + ".csr")
        run(
            *("x509", "-req", "-in", who + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-days", days, "-extfile", who + ".ext", "-out", who + ".pem"),
        )
    for who, more in (("selfsigned", ("-addext", "subjectAltName=DNS:localhost")), ("stranger", ())):
        run(
            "req",
            "-x509",
            *NEW_KEY,
            *VALID,
            "-subj",
            "/CN=localhost",
            *more,
            "-keyout",
            who + ".key",
            "-out",
            who + ".pem",
        )
    run("pkey", "-in", "client.key", "-aes128", "-passout", "pass:" + PASSPHRASE, "-out", "client.secret")

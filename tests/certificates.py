"""Certificates for the tests of TLS: a CA that nobody else trusts, and what it signs.

make(directory, openssl) leaves in the directory ca.pem, and a .pem and a .key of each of
    server      for localhost and 127.0.0.1
    client      CN=guest, for the mechanism EXTERNAL
    wronghost   a server with another's name
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

LEAVES = (
    ("server", "localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
    ("client", "guest", "extendedKeyUsage=clientAuth\n"),
    ("wronghost", "other", "subjectAltName=DNS:other.example\nextendedKeyUsage=serverAuth\n"),
)
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
VALID = ("-days", "3650")


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
    for who, common_name, extensions in LEAVES:
        (directory / (who + ".ext")).write_text(
            extensions + "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        run("req", *NEW_KEY, "-subj", "/CN=" + common_name, "-keyout", who + ".key", "-out", who + ".csr")
        run(
            *("x509", "-req", "-in", who + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"),
            *(*VALID, "-extfile", who + ".ext", "-out", who + ".pem"),
        )

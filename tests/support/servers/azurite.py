"""Azurite: Microsoft's emulator of Azure's blobs, on node."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import http.client
import os
import shutil
from collections.abc import Mapping, Sequence

import pytest

from support.servers import Server

CONTAINER = "claims"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Every Azurite has this one: it is in its manual."""


class Azurite(Server):
    """With one container. Skips where it cannot be had: in $AZURITE, the folder that `npm install azurite` has filled."""

    name = "azurite"

    def __init__(self) -> None:
        beside = os.path.join(os.environ.get("AZURITE", ""), "node_modules", ".bin")
        self.program = shutil.which("azurite-blob") or shutil.which("azurite-blob", path=beside)
        if not self.program:
            pytest.skip("no azurite-blob, the emulator of Azure's blobs, on PATH or in $AZURITE (npm install azurite)")
        super().__init__()

    def command(self) -> Sequence[str]:
        assert self.program
        at = ["--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self.place)]
        return [self.program, *at, "--silent", "--disableTelemetry", "--skipApiVersionCheck"]

    def start(self) -> None:
        super().start()
        self._make(CONTAINER)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}/{ACCOUNT}"

    def credentials(self) -> Mapping[str, str]:
        return {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY}

    def url(self, prefix: str, container: str = CONTAINER) -> str:
        return f"az://{container}/{prefix}?endpoint={self.endpoint}"

    def _make(self, container: str) -> None:
        """A request by hand: the client makes no containers."""
        date = email.utils.formatdate(usegmt=True)
        head = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
        signed = "".join(f"{name}:{value}\n" for name, value in head.items())
        text = f"PUT{12 * chr(10)}{signed}/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
        mac = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        head |= {"Authorization": f"SharedKey {ACCOUNT}:{mac}", "Content-Length": "0"}
        line.request("PUT", f"/{ACCOUNT}/{container}?restype=container", headers=head)
        status = line.getresponse().status
        line.close()
        assert status in (201, 409), f"the container could not be made: {status}"

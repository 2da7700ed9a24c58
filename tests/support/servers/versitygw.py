"""versitygw: a server of S3's protocol on a directory of files that have extended attributes."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from support.servers import Server

BUCKET = "claims"
USER = "looop"
PASSWORD = "s3cret-of-looop"


def versitygw() -> str:
    """Where it is, on PATH or where `go install` puts programs; empty: nowhere."""
    found = shutil.which("versitygw")
    if found or not shutil.which("go"):
        return found or ""
    told = subprocess.run(["go", "env", "GOPATH"], capture_output=True, text=True, check=False).stdout.strip()
    return shutil.which("versitygw", path=str(Path(told, "bin"))) or ""


def has_attributes(where: Path) -> bool:
    try:
        os.setxattr(where, "user.looop", b"1")
    except (OSError, AttributeError):
        return False
    return True


class VersityGW(Server):
    """With one bucket, and one user. Skips where it cannot be had."""

    name = "versitygw"

    def __init__(self) -> None:
        self.program = versitygw()
        if not self.program:
            pytest.skip("no versitygw, the server of S3's protocol (go install github.com/versity/versitygw/cmd/versitygw)")
        super().__init__()
        self.files = self.place / "files"
        (self.files / BUCKET).mkdir(parents=True)
        if not has_attributes(self.files):
            pytest.skip(f"no extended attributes in {self.place.parent}, which versitygw needs")

    def command(self) -> Sequence[str]:
        at = ["--port", f"127.0.0.1:{self.port}", "--keep-alive", "--quiet"]
        return [self.program, *at, "posix", str(self.files)]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "ROOT_ACCESS_KEY": USER, "ROOT_SECRET_KEY": PASSWORD}

    def is_ready(self) -> bool:
        """An error of HTTP's is an answer too."""
        try:
            urllib.request.urlopen(self.endpoint, timeout=1).close()
        except urllib.error.HTTPError as answer:
            answer.close()
        return True

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def credentials(self) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "us-east-1"}

    def url(self, prefix: str, bucket: str = BUCKET) -> str:
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"

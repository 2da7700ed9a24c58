"""s3s-fs: a server of S3's protocol that compares first and writes then, so that several win at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from support.servers import Server
from support.servers.versitygw import BUCKET, PASSWORD, USER


class S3sFs(Server):
    """With one bucket, and one user. Skips where it cannot be had."""

    name = "s3s-fs"

    def __init__(self) -> None:
        self.program = shutil.which("s3s-fs") or shutil.which("s3s-fs", path=str(Path.home() / ".cargo" / "bin"))
        if not self.program:
            pytest.skip("no s3s-fs, a server that lets several win (cargo install s3s-fs@0.14.1 --features binary)")
        super().__init__()
        (self.place / "files" / BUCKET).mkdir(parents=True)

    def command(self) -> Sequence[str]:
        assert self.program
        user = ["--access-key", USER, "--secret-key", PASSWORD]  # It has no other way; and this is no secret.
        return [self.program, *user, "--host", "127.0.0.1", "--port", str(self.port), str(self.place / "files")]

    def credentials(self) -> Mapping[str, str]:
        return {"AWS_ACCESS_KEY_ID": USER, "AWS_SECRET_ACCESS_KEY": PASSWORD, "AWS_REGION": "us-east-1"}

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, "RUST_LOG": "error"}

    def url(self, prefix: str) -> str:
        return f"s3://{BUCKET}/{prefix}?endpoint=http://127.0.0.1:{self.port}"

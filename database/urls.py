"""Database URLs as people write them, read into the one form that SQLAlchemy gets.

The standard parsers give up, or misread, where a password holds a raw ``/ # ? % @`` or ``:``.
Such a URL has few possible readings, and mostly one that makes sense, so it is read by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl, unquote

from psycopg import pq
from sqlalchemy import URL

from database.errors import FleetSchemaError

DRIVER = "postgresql+psycopg"
EXAMPLE = "postgresql://user:password@host:5432/database"

_SCHEMES = ("postgres", "postgresql", DRIVER)
_ADDRESS = re.compile(
    r"""(?P<host> \[[0-9A-Fa-f:.%\w]+\] | [\w.%~-]* )
        (?: : (?P<port> [^/?\#@]* ) )?
        (?: / (?P<database> [^/?\#@]* ) )?
        (?: \? (?P<query> .* ) )?""",
    re.VERBOSE | re.DOTALL,
)


class ConfigurationError(FleetSchemaError):
    """A setting or URL that cannot be used; one line, without the password."""


class _UnreadableError(ValueError):
    """One reading of a URL failed: for what reason, and which piece of text shows it."""

    def __init__(self, reason: str, piece: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.piece = piece


@dataclass(frozen=True)
class _Address:
    """What stands behind the ``@``."""

    host: str
    port: int | None
    database: str
    options: dict[str, str]


def parse_url(text: str, name: str = "DATABASE_URL") -> URL:
    """Read a PostgreSQL URL in any usual spelling into a ``postgresql+psycopg`` URL.

    Accepts the schemes ``postgres``, ``postgresql`` and ``postgresql+psycopg``; sockets as
    ``?host=/folder`` or as a percent-encoded host; credentials percent-encoded or raw. A ``%``
    that is not followed by two hex digits stands for itself. Where several readings are possible
    the standard one (RFC 3986) wins, then the one whose host stands behind the last ``@``.

    Raises ConfigurationError, one line that begins with ``name`` and never shows the password.
    """
    scheme, separator, rest = text.strip().strip("\"'").partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        raise ConfigurationError(f"{name} has no scheme: expected {EXAMPLE}")
    _check_scheme(scheme.lower(), name)
    failures = []
    for credentials, address in _readings(rest):
        try:
            return _url(credentials, _read_address(address))
        except _UnreadableError as error:
            failures.append(error)
    # A piece of the text may be shown only where it cannot be a piece of a password: behind
    # the only @. Where the standard reading sees no @, it may take a password for a port.
    failure = failures[0] if _authority(rest).count("@") or len(failures) == 1 else failures[1]
    shown = f" {failure.piece!r}" if failure.piece and rest.count("@") == 1 else ""
    raise ConfigurationError(f"{name} {failure.reason}{shown}: expected {EXAMPLE}")


def is_local(url: URL) -> bool:
    """Whether the URL stays on this machine: a socket, or a loopback address."""
    host = socket_folder(url) or url.query.get("hostaddr") or url.host or ""
    return (
        not host
        or str(host).startswith(("/", "@", "127."))
        or str(host).lower() in ("localhost", "::1")
    )


def socket_folder(url: URL) -> str | None:
    """The folder of the Unix socket that the URL names, or None where it names a host."""
    host = url.query.get("host")
    return host if isinstance(host, str) else None


def describe(url: URL) -> str:
    """The place in words for a message: ``host:port``, or ``socket /folder``."""
    folder = socket_folder(url)
    if folder:
        return f"socket {folder}"
    return f"{url.host}:{url.port or 5432}" if url.host else "the default socket"


def _check_scheme(scheme: str, name: str) -> None:
    if scheme in _SCHEMES:
        return
    family, _, driver = scheme.partition("+")
    if family in ("postgres", "postgresql") and driver:
        raise ConfigurationError(
            f"{name} names the driver {driver!r}, but this project speaks through psycopg 3, "
            f"synchronous and asynchronous alike: write {EXAMPLE}"
        )
    raise ConfigurationError(f"{name} names {scheme!r}, not PostgreSQL: expected {EXAMPLE}")


def _readings(rest: str) -> Iterator[tuple[str | None, str]]:
    """Every division into credentials and address, the most plausible first."""
    positions = [match.start() for match in re.finditer("@", rest)]
    for position in (_authority(rest).rfind("@"), *reversed(positions)):
        yield (None, rest) if position < 0 else (rest[:position], rest[position + 1 :])


def _authority(rest: str) -> str:
    """What RFC 3986 takes for credentials and host: all before the first ``/ ? #``."""
    return re.split(r"[/?#]", rest, maxsplit=1)[0]


def _read_address(text: str) -> _Address:
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise _UnreadableError("has no host, port and database that can be told apart")
    options = _read_options(match["query"] or "")
    host = unquote(match["host"]).strip("[]")
    port_text = options.pop("port", "") or match["port"] or ""
    if port_text and not (port_text.isascii() and port_text.isdigit()):
        raise _UnreadableError("has a port that is not a number", port_text)
    port = int(port_text) if port_text else None
    if port is not None and not 1 <= port <= 65535:
        raise _UnreadableError("has a port outside 1 to 65535", port_text)
    database = options.pop("dbname", "") or unquote(match["database"] or "")
    if not database:
        raise _UnreadableError("has no database name")
    host = options.pop("host", "") or host
    if host.startswith(("/", "@")):
        # SQLAlchemy carries a socket folder as an option, never as the host.
        options["host"] = host
        host = ""
    return _Address(host, port, database, options)


def _read_options(text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for piece in filter(None, text.split("&")):
        key, separator, _ = piece.partition("=")
        if not separator:
            raise _UnreadableError("has a connection option without a value", key)
        if key not in _known_options():
            raise _UnreadableError("has a connection option that libpq does not know", key)
        options.update(parse_qsl(piece, keep_blank_values=True))
    return {key: value for key, value in options.items() if value}


@cache
def _known_options() -> frozenset[str]:
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults())


def _url(credentials: str | None, address: _Address) -> URL:
    user, _, password = (credentials or "").partition(":")
    options = dict(address.options)
    return URL.create(
        DRIVER,
        username=options.pop("user", "") or _decode(user) or None,
        password=options.pop("password", "") or _decode(password) or None,
        host=address.host or None,
        port=address.port,
        database=address.database,
        query=options,
    )


def _decode(text: str) -> str:
    """Percent-decode, unless the outcome shows that the text was never encoded."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        return text
    return text if "\0" in decoded else decoded

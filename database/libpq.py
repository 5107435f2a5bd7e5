"""What a connection leaves to libpq, which asks the environment for all that it is not told.

A person may have set PGPORT, PGOPTIONS and their kin for another server. A URL of ours knows
better, so the arguments here override those variables, or in a few cases remove them.
"""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import Any

from psycopg import pq
from sqlalchemy import URL

from database.embedded.cluster import SOCKET_PREFIX
from database.urls import socket_folder

log = logging.getLogger(__name__)

_NO_ARGUMENT = ("PGSERVICE", "PGTZ", "PGDATESTYLE", "PGGEQO")
"""Variables that no argument overrides: the first must name a service that exists, the others
are sent to the server whatever the arguments say."""

_PORT = 5432

# Where an empty argument is not the same as none; and TLS has no meaning on a socket.
_NOT_EMPTY = {
    "client_encoding": "UTF8",
    "connect_timeout": "10",
    "sslmode": "disable",
    "sslcertmode": "disable",
    "min_protocol_version": "3.0",
    "max_protocol_version": "3.0",
    # There is no word for any method; this one does not exist on a socket.
    "require_auth": "!sspi",
}


@cache
def variables() -> frozenset[str]:
    """Every environment variable that changes which server libpq reaches, or how."""
    return frozenset((*_environment().values(), *_NO_ARGUMENT, "PGSERVICEFILE"))


def connect_arguments(url: URL) -> dict[str, Any]:
    """Arguments for psycopg beside the URL, so that the environment changes nothing it says.

    - A URL that names a host, or a socket, reaches that: PGHOSTADDR does not count, nor PGPORT,
      since 5432 is what a URL without a port means. Text is sent in UTF-8. What else the URL does
      not say (a password in PGPASSFILE, PGSSLMODE) comes from the environment as usual.
    - For a server of ours nothing comes from the environment. `_NO_ARGUMENT` are removed from the
      environment of this process, with a warning.
    """
    named = set(url.translate_connect_args(username="user", database="dbname")) | set(url.query)
    found: dict[str, Any] = {"client_encoding": "UTF8"}
    if "host" in named:
        found |= {"hostaddr": "", "port": _PORT}
    if is_embedded(url):
        _ignore_what_has_no_argument()
        found |= _defaults()
    return {name: value for name, value in found.items() if name not in named}


def is_embedded(url: URL) -> bool:
    """Whether the URL leads to a server that this project started, by the name of its socket."""
    return (socket_folder(url) or "").startswith(SOCKET_PREFIX)


@cache
def _environment() -> dict[str, str]:
    """Argument to variable."""
    return {
        option.keyword.decode(): option.envvar.decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar
    }


@cache
def _defaults() -> dict[str, Any]:
    """Each argument with what libpq would take if the environment said nothing."""
    compiled = {
        option.keyword.decode(): (option.compiled or b"").decode()
        for option in pq.Conninfo.get_defaults()
    }
    # An empty service is looked up, too.
    names = _environment().keys() - {"service", "host", "user", "dbname", "application_name"}
    return {name: _NOT_EMPTY.get(name, compiled[name]) for name in names}


def _ignore_what_has_no_argument() -> None:
    for name in _NO_ARGUMENT:
        if os.environ.pop(name, None) is not None:
            log.warning("%s is ignored from here on: the embedded server is used", name)

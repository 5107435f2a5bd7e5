"""PostgreSQL servers of our own: the embedded one of a project, and temporary ones for tests."""

from database.embedded.programs import ServerError
from database.embedded.project import EmbeddedServer
from database.embedded.server import Server, ServerStatus
from database.embedded.temporary import TemporaryServer

__all__ = ["EmbeddedServer", "Server", "ServerError", "ServerStatus", "TemporaryServer"]

"""Runs commands in forks of a process that has imported what they need.

Half of the time of a command is the import of libraries, and a third that of the project.
``python -m tests.support.command_server MODULE…`` imports the modules and then reads requests from
its standard input, a JSON object in a line each, and answers each with a line.

- A job has ``module``, ``arguments``, ``cwd``, ``environment``, and the paths ``input``, ``output``
  and ``errors`` of the command's standard streams. The answers are the process id of the fork, and,
  when that has ended, its exit code. A fork begins like ``python -m MODULE ARGUMENTS…`` in that
  folder and environment.
- ``imports`` with ``cwd`` and ``environment``: a fork imports these modules from there, and answers
  from now on. Its first answer is ``ready``; or ``failed``, if one of them cannot be imported or
  writes anything, and then the requests that follow are for the process that it came from.
- ``end``: the fork is done, and the process that it came from goes on.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Iterator
from typing import Any


def _serve(modules: list[str]) -> None:
    requests, answers = os.dup(0), os.dup(1)
    for module in modules:
        importlib.import_module(module)
    _answer(requests, answers)


def _answer(requests: int, answers: int) -> None:
    for line in _lines(requests):
        request = json.loads(line)
        if "end" in request:
            os.write(answers, b"ended\n")
            return
        process = os.fork()
        if not process:
            if "imports" in request:
                os.write(answers, b"ready\n" if (ready := _imported(request)) else b"failed\n")
                if ready:
                    _answer(requests, answers)
                os._exit(0)
            os.close(answers)
            _run(request)
        if "imports" not in request:
            os.write(answers, f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        if "imports" not in request:
            os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _lines(source: int) -> Iterator[str]:
    """What is read ahead would be lost for the process that goes on."""
    line = b""
    while byte := os.read(source, 1):
        line += byte
        if byte == b"\n":
            yield line.decode()
            line = b""


def _imported(request: dict[str, Any]) -> bool:
    with tempfile.TemporaryFile() as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
        _become(request)
        try:
            for module in request["imports"]:
                importlib.import_module(module)
        except BaseException:  # the command itself says why
            return False
        sys.stdout.flush()
        sys.stderr.flush()
        return not os.fstat(output.fileno()).st_size


def _become(request: dict[str, Any]) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    sys.path[0] = request["cwd"]


def _run(job: dict[str, Any]) -> None:
    """Become the command; does not return."""
    code: Any = 1
    try:
        for stream, path, flags in (
            (0, job["input"], os.O_RDONLY),
            (1, job["output"], os.O_WRONLY | os.O_APPEND),
            (2, job["errors"], os.O_WRONLY | os.O_APPEND),
        ):
            os.dup2(os.open(path, flags), stream)
        _become(job)
        sys.argv[1:] = job["arguments"]
        runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # as the interpreter does
        traceback.print_exc()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve(sys.argv[1:])

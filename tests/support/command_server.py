"""Runs commands in forks of a process that has imported what they need.

Half of the time of a command is the import of libraries. ``python -m tests.support.command_server
MODULE…`` imports the modules and then reads jobs from its standard input, a JSON object in a line
each: ``module``, ``arguments``, ``cwd``, ``environment``, and the paths ``input``, ``output``
and ``errors`` of the command's standard streams. For each it answers with a line, the process id of
the fork, and with another one when that has ended, its exit code. A fork begins like
``python -m MODULE ARGUMENTS…`` in that folder and environment.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import sys
import traceback
from typing import Any


def _serve(modules: list[str]) -> None:
    jobs, answers = os.dup(0), os.dup(1)
    for module in modules:
        importlib.import_module(module)
    with os.fdopen(jobs, encoding="utf-8") as lines:
        for line in lines:
            process = os.fork()
            if not process:
                os.close(answers)
                _run(json.loads(line))
            os.write(answers, f"{process}\n".encode())
            _, status = os.waitpid(process, 0)
            os.write(answers, f"{os.waitstatus_to_exitcode(status)}\n".encode())


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
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        sys.path[0] = job["cwd"]
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

"""What revisions call, made from the fields of a state: ``op.create_view(…)`` and its like."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from alembic.operations import Operations

from ddl import privileges
from ddl.base import Operation, State, dropped_by

Op = TypeVar("Op", bound=Operation[Any])


def revisable(
    state_type: type[State],
    *,
    create: str | None = None,
    drop: str | None = None,
    alter: str | None = None,
) -> Callable[[type[Op]], type[Op]]:
    """Register an operation with Alembic; what revisions call follows from the state's fields.

    ``op.create_view(name, definition=…, …)``, ``op.drop_view(name)`` and, where the operation
    has an ``alter``, ``op.alter_view(…)``. Fields in ``positional`` may be given without their
    names; explicit fields must be given. A method of the class with the name of the verb takes
    precedence.

    Args:
        create: the verb where it is not ``create_`` and the kind; likewise ``drop``, ``alter``.
    """
    noun = state_type.kind.replace(" ", "_").replace("-", "_")

    def decorate(operation: type[Op]) -> type[Op]:
        operation.state_type = state_type
        operation.verbs = (
            create or f"create_{noun}",
            drop or f"drop_{noun}",
            alter or f"alter_{noun}",
        )
        creating, dropping, altering = operation.verbs
        builders: dict[str, Callable[[State], Operation[Any]]] = {
            dropping: lambda state: operation(state, None),
            creating: lambda state: operation(None, state),
        }
        if operation.alter is not Operation.alter:
            builders[altering] = lambda state: operation(state, state)
        for verb, build in builders.items():
            if not hasattr(operation, verb):
                grants = verb == creating and state_type.grantable
                parameters = _parameters(state_type, dropping=verb == dropping, grants=grants)
                setattr(operation, verb, _method(verb, state_type, build, parameters))
            Operations.register_operation(verb)(operation)
        return operation

    return decorate


def _parameters(state_type: type[State], *, dropping: bool, grants: bool) -> list[str]:
    """The parameters of a call in a revision as Python has them; a drop names the object only."""
    fields = {field.name: field for field in dataclasses.fields(state_type)}
    positional = dropped_by(state_type) if dropping else state_type.positional
    named = ("schema", *state_type.dropped_with) if dropping else tuple(fields)
    found = [
        f"{name}={fields[name].default!r}" if "optional" in fields[name].metadata else name
        for name in positional
    ]
    found.append("*")
    for name in named:
        if name in fields and name not in positional:
            field = fields[name]
            required = "explicit" in field.metadata
            found.append(name if required else f"{name}={field.default!r}")
    if grants:
        found.append("grants=None")
    return found if found[-1] != "*" else found[:-1]


def _method(
    verb: str,
    state_type: type[State],
    build: Callable[[State], Operation[Any]],
    parameters: list[str],
) -> Any:
    """A classmethod as Alembic registers them."""
    listed = {
        field.name for field in dataclasses.fields(state_type) if isinstance(field.default, tuple)
    }

    def invoke(operations: Operations, values: dict[str, Any]) -> None:
        granted = values.pop("grants", None)
        for name in listed & values.keys():
            value = values[name]
            values[name] = (value,) if isinstance(value, str) else tuple(value)
        operation = build(state_type(**values))
        operation.grants = privileges.parse(granted or {})
        operations.invoke(operation)

    # Alembic reads the parameters from the code of the function, so that a signature that is
    # merely attached would not do.
    lines = [
        f"def {verb}(cls, operations, {', '.join(parameters)}):",
        f"    {f'{verb} {state_type.kind}: {inspect.getdoc(state_type)}'!r}",
        "    values = dict(locals())",
        "    del values['cls'], values['operations']",
        "    invoke(operations, values)",
    ]
    names: dict[str, Any] = {"invoke": invoke}
    exec("\n".join(lines), names)  # noqa: S102 (text made above, of names of fields)
    return classmethod(names[verb])

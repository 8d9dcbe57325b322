"""Records: `class Track:` with typed fields is a value of fixed shape, expanded into its fields before any back end.

A record is its fields, an array of records one array a field with the array's axes first. So `memory.legs.x` is a
Float[4], and `legs[i]`, `put`, `shift_push`, `take` do to every field what they do to an array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from logic.language.bound import Bound, Record, RecordType, Scope, Shape
from logic.language.ir import Type, Value


def find_record(name: str, scope: Scope) -> RecordType | None:
    """The record a name stands for in a scope, following one import."""
    if name in scope.imported:
        other, original = scope.imported[name]
        return find_record(original, other)
    return scope.records.get(name)


def leaves(record: Record, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Value]]:
    """Every plain value in it, with the places of the fields that lead there."""
    for i, item in enumerate(record.items):
        if isinstance(item, Record):
            yield from leaves(item, (*path, i))
        elif isinstance(item, Value):
            yield (*path, i), item


def names_of(record: RecordType, prefix: str = "") -> Iterator[str]:
    """`x`, `pos.x`: names of the leaves, in their order."""
    for name, kind in record.fields.items():
        if isinstance(kind, Shape):
            yield from names_of(kind.record, f"{prefix}{name}.")
        else:
            yield prefix + name


def with_leaf(bound: Bound, path: tuple[int, ...], value: Value) -> Bound:
    """The same with another value at one place."""
    if not path or not isinstance(bound, Record):
        return value
    items = list(bound.items)
    items[path[0]] = with_leaf(items[path[0]], path[1:], value)
    return replace(bound, items=tuple(items))


def mapped(record: Record, shape: tuple[int, ...], f: Callable[[Value], Value]) -> Record:
    """Every leaf through `f`, which makes the record's own axes `shape`."""
    cut = len(record.shape)
    items: list[Bound] = []
    for item in record.items:
        if isinstance(item, Record):
            items.append(mapped(item, shape + item.shape[cut:], f))
        else:
            items.append(f(item) if isinstance(item, Value) else item)
    return Record(record.type, tuple(items), shape)


def type_within(kind: Type, shape: tuple[int, ...]) -> Type:
    """Type of a field in a record with those axes."""
    return Type(kind.kind, shape + (kind.shape or ())) if shape else kind

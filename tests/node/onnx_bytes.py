"""ONNX models of a few nodes, written byte by byte: the `onnx` package is not among our needs.

Field numbers: onnx/onnx.proto (ModelProto, GraphProto, NodeProto, TensorProto, ValueInfoProto), opset 13.
"""

from __future__ import annotations

import struct

FLOAT, INT64 = 1, 7


def varint(number: int, value: int) -> bytes:
    return _key(number, 0) + _varint(value)


def message(number: int, *fields: bytes) -> bytes:
    body = b"".join(fields)
    return _key(number, 2) + _varint(len(body)) + body


def text(number: int, value: str) -> bytes:
    return message(number, value.encode())


def node(kind: str, inputs: list[str], output: str, *attributes: bytes) -> bytes:
    return message(1, *(text(1, name) for name in inputs), text(2, output), text(4, kind), *attributes)


def integer(name: str, value: int) -> bytes:
    return message(5, text(1, name), varint(3, value), varint(20, 2))


def floats(name: str, shape: list[int], values: list[float]) -> bytes:
    raw = struct.pack(f"<{len(values)}f", *values)
    return message(5, *(varint(1, size) for size in shape), varint(2, FLOAT), text(8, name), message(9, raw))


def value(number: int, name: str, kind: int, width: int) -> bytes:
    shape = message(2, message(1, text(2, "N")), message(1, varint(1, width)))
    return message(number, text(1, name), message(2, message(1, varint(1, kind), shape)))


def model(*graph: bytes) -> bytes:
    return varint(1, 8) + message(7, *graph, text(2, "test")) + message(8, varint(2, 13))


def logistic_by_column(weights: list[float]) -> bytes:
    """distance (float) and hour (int64), each [N, 1], to late_probability [N, 1]."""
    return model(
        node("Cast", ["hour"], "hour_f", integer("to", FLOAT)),
        node("Concat", ["distance", "hour_f"], "x", integer("axis", 1)),
        node("MatMul", ["x", "w"], "z"),
        node("Sigmoid", ["z"], "late_probability"),
        floats("w", [2, 1], weights),
        value(11, "distance", FLOAT, 1),
        value(11, "hour", INT64, 1),
        value(12, "late_probability", FLOAT, 1),
    )


def logistic_by_matrix(weights: list[float]) -> bytes:
    """One input [N, 2]; two outputs, of which the last is [N, 2]: the probabilities of class 0 and class 1."""
    return model(
        node("MatMul", ["x", "w"], "z"),
        node("Sigmoid", ["z"], "p1"),
        node("Sub", ["one", "p1"], "p0"),
        node("Concat", ["p0", "p1"], "probabilities", integer("axis", 1)),
        floats("w", [2, 1], weights),
        floats("one", [1], [1.0]),
        value(11, "x", FLOAT, 2),
        value(12, "z", FLOAT, 1),
        value(12, "probabilities", FLOAT, 2),
    )


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])

"""Writes tiny ONNX networks: classifiers that know a few words, in some hundred bytes.

A network looks each token up in a table of logits; one that judges texts takes the largest of each
label over all tokens, or the mean. Written field by field, as the format's protocol buffers are
(``onnx.proto3``; field numbers as there).
"""

import struct
from collections.abc import Sequence
from typing import Final, Literal

FLOAT, INT64, INT32 = 1, 7, 6
"""Element types of tensors."""
OPSET: Final = 13
_INTS, _INT = 7, 2
INPUTS: Final = ("input_ids", "attention_mask")

type Over = Literal["texts", "tokens"]
type Dim = int | str


def classifier(
    logits: Sequence[Sequence[float]],
    *,
    over: Over = "texts",
    inputs: Sequence[str] = INPUTS,
    output: str = "logits",
    opset: int = OPSET,
    length: Dim = "length",
    kind: int = INT64,
) -> bytes:
    """Return a network that judges texts, or each of their tokens.

    Args:
        logits: Shape ``(tokens, labels)``: what each token of the vocabulary says of each label.
        over: What is judged.
        inputs: Names of the inputs, the ids first.
        output: The name of the output.
        opset: The version of the operators; one that no runtime has cannot be loaded.
        length: How long texts are: a name for any, a number for just that.
        kind: Element type of the inputs.
    """
    labels = len(logits[0])
    each = "logits" if over == "texts" else output
    nodes = [_node("Gather", ["table", inputs[0]], "each", _attribute("axis", 0))]
    if over == "texts":
        nodes.append(
            _node("ReduceMax", ["each"], output, _attribute("axes", [1]), _attribute("keepdims", 0))
        )
    else:
        nodes.append(_node("Identity", ["each"], each))
    shape: list[Dim] = ["batch", labels] if over == "texts" else ["batch", length, labels]
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, b"tiny"),
            _field(5, _table("table", logits)),
            *(_field(11, _value(name, kind, ["batch", length])) for name in inputs),
            _field(12, _value(output, FLOAT, shape)),
        ]
    )
    return b"".join(
        [_number(1, 8), _field(7, graph), _field(8, _field(1, b"") + _number(2, opset))]
    )


def _table(name: str, rows: Sequence[Sequence[float]]) -> bytes:
    raw = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    dims = _number(1, len(rows)) + _number(1, len(rows[0]))
    return dims + _number(2, FLOAT) + _field(8, name.encode()) + _field(9, raw)


def _node(operator: str, inputs: Sequence[str], output: str, *attributes: bytes) -> bytes:
    return b"".join(
        [
            *(_field(1, name.encode()) for name in inputs),
            _field(2, output.encode()),
            _field(4, operator.encode()),
            *(_field(5, attribute) for attribute in attributes),
        ]
    )


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _field(1, name.encode()) + _number(3, value) + _number(20, _INT)
    items = b"".join(_number(8, one) for one in value)
    return _field(1, name.encode()) + items + _number(20, _INTS)


def _value(name: str, kind: int, shape: Sequence[Dim]) -> bytes:
    dims = b"".join(
        _field(1, _number(1, dim) if isinstance(dim, int) else _field(2, dim.encode()))
        for dim in shape
    )
    tensor = _number(1, kind) + _field(2, dims)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)

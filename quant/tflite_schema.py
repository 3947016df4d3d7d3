"""Numbers of the TFLite schema (version 3): operators, types and enums that the importer understands, by name."""

from __future__ import annotations

from collections.abc import Mapping

#: BuiltinOperator.
OPERATORS: Mapping[int, str] = {
    0: "ADD",
    1: "AVERAGE_POOL_2D",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    20: "RELU_N1_TO_1",
    21: "RELU6",
    22: "RESHAPE",
    25: "SOFTMAX",
    28: "TANH",
    34: "PAD",
    39: "TRANSPOSE",
    40: "MEAN",
    43: "SQUEEZE",
    45: "STRIDED_SLICE",
    55: "MAXIMUM",
    57: "MINIMUM",
    60: "PADV2",
    65: "SLICE",
    70: "EXPAND_DIMS",
    98: "LEAKY_RELU",
    114: "QUANTIZE",
    117: "HARD_SWISH",
}
CUSTOM = 32

#: BuiltinOptions: the options table of each operator that has to have one.
OPTIONS: Mapping[str, int] = {
    "ADD": 11,
    "AVERAGE_POOL_2D": 5,
    "CONCATENATION": 10,
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 8,
    "LEAKY_RELU": 75,
    "MAX_POOL_2D": 5,
    "MEAN": 27,
    "MUL": 21,
    "SOFTMAX": 9,
    "STRIDED_SLICE": 32,
}

#: TensorType: the name, and the numpy dtype of its data ("" where several values share a byte, or it is no number).
TYPES: Mapping[int, tuple[str, str]] = {
    0: ("FLOAT32", "f4"),
    1: ("FLOAT16", "f2"),
    2: ("INT32", "i4"),
    3: ("UINT8", "u1"),
    4: ("INT64", "i8"),
    5: ("STRING", ""),
    6: ("BOOL", "u1"),
    7: ("INT16", "i2"),
    8: ("COMPLEX64", "c8"),
    9: ("INT8", "i1"),
    10: ("FLOAT64", "f8"),
    15: ("UINT32", "u4"),
    16: ("UINT16", "u2"),
    17: ("INT4", ""),
}

#: ActivationFunctionType: the range each fused activation clamps to. TANH and SIGN_BIT have none.
INF = float("inf")
ACTIVATIONS: Mapping[int, tuple[float, float] | None] = {0: None, 1: (0.0, INF), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
#: Padding.
SAME, VALID = 0, 1


def operator_name(code: int) -> str:
    """Return an operator's name; those that are not imported are looked up where ai-edge-litert is installed."""
    if code in OPERATORS:
        return OPERATORS[code]
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError:
        return f"operator code {code}"
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    return str(names.get(code, f"operator code {code}"))

"""The two type tables of the format: tensor types and metadata value types.

Source: ggml.h `enum ggml_type` with the block sizes of ggml-common.h, and gguf.h `enum gguf_type`, both of
ggml 0.25.3.
"""

from __future__ import annotations

from dataclasses import dataclass

# ids are stored in 32 bits; ggml has given out 43 in three years, so a larger one than this is no future type
MAX_TYPE_ID = 0xFFFF


@dataclass(frozen=True)
class TensorType:
    """How a tensor's values are stored: in blocks of `block_size` values, each of `type_size` bytes."""

    id: int
    name: str
    block_size: int
    type_size: int

    @property
    def bits_per_value(self) -> float:
        """Return how many bits one value takes, its share of the scales included."""
        return 8 * self.type_size / self.block_size


_TENSOR_TYPES = """
 0 F32       1   4
 1 F16       1   2
 2 Q4_0     32  18
 3 Q4_1     32  20
 6 Q5_0     32  22
 7 Q5_1     32  24
 8 Q8_0     32  34
 9 Q8_1     32  36
10 Q2_K    256  84
11 Q3_K    256 110
12 Q4_K    256 144
13 Q5_K    256 176
14 Q6_K    256 210
15 Q8_K    256 292
16 IQ2_XXS 256  66
17 IQ2_XS  256  74
18 IQ3_XXS 256  98
19 IQ1_S   256  50
20 IQ4_NL   32  18
21 IQ3_S   256 110
22 IQ2_S   256  82
23 IQ4_XS  256 136
24 I8        1   1
25 I16       1   2
26 I32       1   4
27 I64       1   8
28 F64       1   8
29 IQ1_M   256  56
30 BF16      1   2
34 TQ1_0   256  54
35 TQ2_0   256  66
39 MXFP4    32  17
40 NVFP4    64  36
41 Q1_0    128  18
42 Q2_0     64  18
"""

# withdrawn from the format; their layout is no longer defined, so no file may use them
REMOVED_TYPES = {
    4: "Q4_2",
    5: "Q4_3",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}


def _parse(line: str) -> TensorType:
    id, name, block_size, type_size = line.split()
    return TensorType(int(id), name, int(block_size), int(type_size))


TENSOR_TYPES: dict[int, TensorType] = {t.id: t for t in map(_parse, _TENSOR_TYPES.strip().splitlines())}
TENSOR_TYPE_OF_NAME: dict[str, TensorType] = {t.name: t for t in TENSOR_TYPES.values()}


@dataclass(frozen=True)
class ValueType:
    """How a metadata value is stored; `code` is its letter in `struct` and, with the size, in NumPy."""

    id: int
    name: str
    code: str = ""
    size: int = 0


VALUE_TYPES: dict[int, ValueType] = {
    t.id: t
    for t in (
        ValueType(0, "uint8", "B", 1),
        ValueType(1, "int8", "b", 1),
        ValueType(2, "uint16", "H", 2),
        ValueType(3, "int16", "h", 2),
        ValueType(4, "uint32", "I", 4),
        ValueType(5, "int32", "i", 4),
        ValueType(6, "float32", "f", 4),
        ValueType(7, "bool", "B", 1),
        ValueType(8, "string"),
        ValueType(9, "array"),
        ValueType(10, "uint64", "Q", 8),
        ValueType(11, "int64", "q", 8),
        ValueType(12, "float64", "d", 8),
    )
}
VALUE_TYPE_OF_NAME: dict[str, ValueType] = {t.name: t for t in VALUE_TYPES.values()}
STRING, ARRAY = VALUE_TYPE_OF_NAME["string"], VALUE_TYPE_OF_NAME["array"]

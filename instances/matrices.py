"""Weight matrices: their sizes, and how tensor parallelism cuts them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shardproof.instances.base import Record
from shardproof.instances.formats import TensorClass

Shard = Literal["none", "heads", "kv_heads", "ffn"]
"""How tensor parallelism cuts a matrix.

``none``: every rank holds all of it; ``heads``: cut by query (or linear) heads over attn_tp;
``kv_heads``: cut by KV heads, copied once ranks outnumber them; ``ffn``: cut along the
intermediate dimension.
"""


class Matrix(Record):
    """One weight matrix: ``inputs x outputs`` elements, plus ``vector`` extra elements (biases)."""

    name: str
    inputs: int = Field(ge=0)
    outputs: int = Field(ge=0)
    tensor_class: TensorClass
    shard: Shard
    cut: Literal["inputs", "outputs"] = "outputs"
    vector: int = Field(default=0, ge=0)

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return self.inputs * self.outputs + self.vector


def ffn_matrices(
    hidden: int, intermediate: int, *, gated: bool, bias: bool, tensor_class: TensorClass
) -> tuple[Matrix, ...]:
    """Matrices of a (gated) feed-forward network of one width."""
    names = ("gate", "up") if gated else ("up",)
    ups = tuple(
        Matrix(
            name=name,
            inputs=hidden,
            outputs=intermediate,
            tensor_class=tensor_class,
            shard="ffn",
            vector=intermediate if bias else 0,
        )
        for name in names
    )
    down = Matrix(
        name="down",
        inputs=intermediate,
        outputs=hidden,
        tensor_class=tensor_class,
        shard="ffn",
        cut="inputs",
        vector=hidden if bias else 0,
    )
    return (*ups, down)

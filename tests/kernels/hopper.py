"""Kernels of Triton compiled for an H100 where there is none: what the interpreter cannot show.

Triton carries NVIDIA's assembler, so its compiler goes all the way to machine code on any machine:
a kernel that does not compile for the card, spills registers, wants more shared memory than a block
may have, or multiplies without the tensor cores, is found here.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CAPABILITY = 90
SHARED_LIMIT = 227 << 10
"""Bytes that one block may have on an H100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """One kernel in machine code, and what a thread or a block of it takes."""

    ptx: str
    sass: str
    registers: int
    """32-bit ones of each thread, of 255."""
    stack: int
    """Bytes of each thread; spilled registers lie here."""
    local: int
    """Bytes of each thread."""
    shared: int
    """Bytes of each block, whatever way they are asked for."""

    @property
    def num_products(self) -> int:
        """Instructions that give the tensor cores a product."""
        return self.ptx.count("wgmma.mma_async")

    @property
    def num_atomics(self) -> int:
        """Sums that other programs may come before or after."""
        return len(re.findall(r"\b(?:atom|red)\.(?:global|shared|gpu|cta|relaxed)", self.ptx))


def compiled(
    kernel: Any,
    signature: Mapping[str, str],
    constexprs: Mapping[str, Any],
    *,
    num_warps: int = 4,
    num_stages: int = 3,
    enable_fp_fusion: bool = True,
) -> Compiled:
    """Compile a kernel as a launch on an H100 would.

    Args:
        kernel: a function under `triton.jit`.
        signature: type of each argument that is no constexpr, such as "*bf16", "i32", "fp32". Of
            pointers and of what ends in ":16" the compiler hears that 16 divides it, as it does at
            a launch with tensors of torch and a size that is a multiple.
        constexprs: the other arguments.
        num_warps: of a block.
        num_stages: of pipelined loops.
        enable_fp_fusion: whether a product and a sum become one instruction, rounded once. Versions
            of Triton differ in what they do unasked, so a launch names it too.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(kernel.arg_names)
    types = {name: "constexpr" if name in constexprs else signature[name] for name in names}
    attrs = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(names)
        if types[name].startswith("*") or types[name].endswith(":16")
    }
    source = ASTSource(
        kernel,
        {name: kind.removesuffix(":16") for name, kind in types.items()},
        constexprs=dict(constexprs),
        attrs=attrs,
    )
    made = triton.compile(
        source,
        target=GPUTarget("cuda", CAPABILITY, 32),
        options={
            "num_warps": num_warps,
            "num_stages": num_stages,
            "enable_fp_fusion": enable_fp_fusion,
        },
    )
    usage, sass = _dumped(made.asm["cubin"], "--dump-resource-usage", "-sass")
    return Compiled(
        ptx=made.asm["ptx"],
        sass=sass,
        registers=_figure(usage, "REG"),
        stack=_figure(usage, "STACK"),
        local=_figure(usage, "LOCAL"),
        shared=_figure(usage, "SHARED") + int(made.metadata.shared),
    )


def assert_fits(kernel: Compiled, *, products: bool = False) -> None:
    """No spill, no more shared memory than there is; tensor cores where it multiplies matrices.

    Args:
        kernel: compiled.
        products: whether it has a `tl.dot` that the tensor cores can do.
    """
    assert (kernel.stack, kernel.local) == (0, 0), f"spills at {kernel.registers} registers"
    assert kernel.shared <= SHARED_LIMIT, f"{kernel.shared} bytes of shared memory"
    assert bool(kernel.num_products) == products, f"{kernel.num_products} products by tensor cores"


def assert_repeats(kernel: Compiled) -> None:
    """No sum whose order the card decides."""
    assert kernel.num_atomics == 0, f"{kernel.num_atomics} atomics"


def _dumped(cubin: bytes, *options: str) -> list[str]:
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        return [
            subprocess.run(
                [knobs.nvidia.cuobjdump.path, option, file.name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for option in options
        ]


def _figure(usage: str, name: str) -> int:
    found = re.search(rf"\b{name}:(\d+)", usage)
    assert found, f"no {name} in what cuobjdump says: {usage}"
    return int(found[1])

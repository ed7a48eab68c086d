"""Compile the Triton kernels for GPUs, without one: `python -m` this module.

Prints kernel, dtype, architecture and whether machine code came out. The process must not have
`TRITON_INTERPRET` set.
"""

import triton.language as tl
from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from distill.networks.layers import norm_relu_pool_triton as kernels

STATISTICS = ("weight", "bias", "mean", "rstd", "to_weight", "to_bias")
SIDE = 32


def main() -> None:
    """Compiles every kernel for float32 and bfloat16 maps and two architectures."""
    for kernel in (kernels._forward, kernels._backward, kernels._second_derivative):
        for maps in ("fp32", "bf16"):
            signature = {name: _type(name, maps) for name in kernel.arg_names}
            constants = {"rows": SIDE, "columns": SIDE, "dtype": tl.float32}
            for architecture in (80, 90):
                compiled = compile_kernel(
                    ASTSource(kernel, signature, constexprs=constants),
                    target=GPUTarget("cuda", architecture, 32),
                    options={"num_warps": 4},
                )
                print(kernel.fn.__name__, maps, architecture, len(compiled.asm["cubin"]) > 0)


def _type(name: str, maps: str) -> str:
    if name in ("rows", "columns", "dtype"):
        return "constexpr"
    if name in ("c", "h", "w"):
        return "i32"
    if name == "eps":
        return "fp32"
    return "*fp32" if name.removesuffix("_ptr") in STATISTICS else f"*{maps}"


if __name__ == "__main__":
    main()

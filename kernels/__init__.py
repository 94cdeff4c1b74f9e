"""The hot loops, one folder per kernel: its plain definition, its fused twin, its benchmark.

`dispatch.py` says which twin runs where, and why; `vector_math` and `products` see to torch's own
functions on CPUs. The version below is not ours: `transformers` probes
for a package of this name and must find it too old to be the one it looks for.
"""

__version__ = "0.0.0"

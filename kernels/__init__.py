"""The hot loops, one folder per kernel: its plain definition, its fused twin, its benchmark.

None so far; `vector_math` sees to torch's own. The version below is not ours: `transformers` probes
for a package of this name and must find it too old to be the one it looks for.
"""

__version__ = "0.0.0"

"""A model over several dimensions of ranks: replicas, shards, stretches of columns, experts.

meshes.py    which ranks have what in common
spread.py    FSDP2 over two meshes, the experts' and the rest's
experts.py   tokens go to the rank of their experts and come back
context.py   ranks that share rows exchange attention's heads
norm.py      the gradient's norm, and clipping by it
reading.py   every rank reads its own slices of a checkpoint
"""

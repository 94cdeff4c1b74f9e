"""How a climb keeps what it learned: trace selection, filters, SFT onto fresh checkpoints.

Empty for now.
"""

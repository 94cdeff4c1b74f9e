"""How far a checkpoint is that is being written; names no torch, for whoever only asks."""

from __future__ import annotations

from typing import Literal

Stage = Literal["", "writing", "exporting"]
"""Its pieces are being written; it stands, and its model is being made; nothing is under way."""

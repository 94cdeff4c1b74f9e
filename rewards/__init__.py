"""How well an attempt did: verifiers, penalties, and how they combine. Usable as a library."""

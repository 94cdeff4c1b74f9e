"""The package `mcp`, which comes with vLLM; or what to do where it did not."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from munro.envs.mcp.errors import BadServer

NEEDED = "mcp>=2,<3"


def require() -> None:
    """Raises BadServer where the package is not there, or is another version's."""
    try:
        found = version("mcp")
    except PackageNotFoundError as error:
        raise BadServer(f"MCP needs a package: pip install '{NEEDED}'.") from error
    if found.partition(".")[0] != "2":
        raise BadServer(f"mcp {found} is installed, and another is needed: pip install '{NEEDED}'.")

"""Where the page is, and who may ask for it.

A page of another site can make a name of its own lead to this machine and then read what is served
here as if it were its own (DNS rebinding). It cannot choose what the browser calls the host: only
requests that call it by an address or a name of this machine are answered.
"""

from __future__ import annotations

import ipaddress
import socket

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_ask(called: str, host: str) -> bool:
    """Whether a request that calls the server `called` is answered by one that listens at `host`.

    Args:
        called: the request's Host header, perhaps with a port.
        host: loopback, or an address that others reach, who then may call it by any address (a
            name is what a rebinding needs), by that one, or by the machine's own name.
    """
    name = _name_of(called)
    if name is None:
        return False
    if is_loopback(host):
        return is_loopback(name)
    own = {host.lower(), "localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
    return name in own or _is_address(name)


def url_of(host: str, port: int) -> str:
    """What a person opens in a browser on this machine."""
    shown = "localhost" if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def _name_of(called: str) -> str | None:
    """Without its port and brackets; None where it is no host."""
    if called.startswith("["):
        name, closing, port = called[1:].partition("]")
        good = closing and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name.lower() if good else None
    name, colon, port = called.partition(":")
    return name.lower() if name and (not colon or port.isdigit()) else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

"""By which interface a host reaches others: the one from which the kernel would send."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

from lepton_kit.errors import RunError
from lepton_kit.hosts import HostSpec

Way = tuple[str, str]
"""An interface's name and its address."""


def way_to(address: str) -> Way | None:
    """The interface and source address of what this host would send to an address; None without a route.

    Nothing is sent: connecting a datagram socket only asks the kernel for a route.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            source = probe.getsockname()[0]
    except OSError:
        return None
    return (name, source) if (name := _interface_with(source)) else None


def _interface_with(address: str) -> str | None:
    import psutil

    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address.partition("%")[0] == address for one in addresses):
            return name
    return None


def address_on(interface: str) -> str:
    """The address at which a rank listens on an interface, IPv4 before IPv6. Raises `RunError` if it has none.

    >>> address_on("lo")
    '127.0.0.1'
    """
    import psutil

    found = psutil.net_if_addrs().get(interface)
    if found is None:
        raise RunError(f"there is no interface {interface}")
    for family in (socket.AF_INET, socket.AF_INET6):
        for one in found:
            if one.family == family:
                return one.address
    raise RunError(f"interface {interface} has no address")


def interface_of(host: str, ways: Mapping[str, Way | None], peers: Sequence[str]) -> str:
    """The one interface by which a host reaches all its peers. Raises `RunError` that says what the user can do.

    >>> interface_of("a", {"10.0.0.2": ("eth0", "10.0.0.1")}, ["10.0.0.2"])
    'eth0'
    """
    missing = [peer for peer in peers if ways.get(peer) is None]
    if missing:
        raise RunError(
            f"{host}: has no route to {', '.join(missing)}; the ranks of a ring connect to each other"
        )
    found = {way[0] for peer in peers if (way := ways[peer]) is not None}
    if len(found) > 1:
        names = ", ".join(sorted(found))
        raise RunError(
            f"{host}: reaches the other hosts by several interfaces ({names}); name one as `interface`"
        )
    return found.pop() if found else "lo"


def address_of(name: str) -> str:
    """The address that a name means on this machine. Raises `RunError`."""
    try:
        return str(socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as failure:
        raise RunError(f"{name}: no address is known for it ({failure.strerror or failure})") from None


def peers_of(hosts: Sequence[HostSpec], addresses: Mapping[str, str]) -> list[list[str]]:
    """For each host the addresses of the others that its ranks connect to; none where all are this machine.

    ``addresses`` are those of hosts that are not this machine. Raises `RunError` for one that this machine has no
    route to.
    """
    here = any(host.via == "local" for host in hosts)
    found = []
    for host in hosts:
        others = [address for name, address in addresses.items() if name != host.name]
        if host.via != "local" and here:
            way = way_to(addresses[host.name])
            if way is None:
                raise RunError(f"{host.name}: this machine has no route to {addresses[host.name]}")
            others.append(way[1])
        found.append(list(dict.fromkeys(others)))
    return found

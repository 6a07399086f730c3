"""Free TCP ports of 127.0.0.1."""

import secrets
import socket
from collections.abc import Collection

# The kernel takes the ports of outgoing connections from 32768 on: one of ours could be taken
# between our look and the broker's start.
_RANGE = range(20000, 32000)


def free_ports(count: int, taken: Collection[int] = ()) -> list[int]:
    """Return different ports that nobody listens on, none of them in `taken`."""
    ports: list[int] = []
    while len(ports) < count:
        port = secrets.choice(_RANGE)
        if port not in ports and port not in taken and is_free(port):
            ports.append(port)
    return ports


def is_free(port: int) -> bool:
    """Return whether a server can listen on the port."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier server that still linger are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

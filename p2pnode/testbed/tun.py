"""TUN devices: what the kernel routes into one, this side reads as IP packets, and the reverse.

Without IFF_VNET_HDR the kernel hands over plain packets: cut to the MTU and with their checksums.
"""

import os
import struct

from p2pnode.testbed.namespaces import BedError, Namespace

TUN_PATH = "/dev/net/tun"

ETHERNET_MTU = 1500
"""bytes (RFC 894)"""

QUEUE_PACKETS = 2000
"""packets; chosen: 3 MB, what a sender with GSO can hand over while the other side is not running;
the kernel's default of 500 is less than one window at 100 Mbit/s and 50 ms"""

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
# of linux/if_tun.h
_IFREQ = struct.Struct("16sH22x")


def open_tun(namespace: Namespace, name: str) -> int:
    """Makes a device in the namespace; it lives as long as the file that this returns.

    Raises BedError.
    """
    import fcntl  # there is none on Windows, where people still ask why there is no test bed

    try:
        with namespace.entered():
            # The device belongs to the namespace in which the file was opened.
            fd = os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise BedError(f"{TUN_PATH} cannot be opened: {exc.strerror}") from exc
    try:
        fcntl.ioctl(fd, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TUN | _IFF_NO_PI))
        namespace.ip(
            f"link set {name} addrgenmode none",  # no packets of its own in search of a router
            f"link set {name} up mtu {ETHERNET_MTU} txqueuelen {QUEUE_PACKETS}",
        )
    except OSError as exc:
        os.close(fd)
        raise BedError(f"a TUN device cannot be made: {exc.strerror}") from exc
    except BedError:
        os.close(fd)
        raise
    return fd

"""The attackers as a process of their own, on plain sockets.

    python -m tests.siege.program --target IP:PORT --from IP [--from IP ...] --rows 2,3,4,5,6
                                  [--seconds 60] [--scale 1.0]

It prints one JSON object when it has begun and one when it is over.
"""

import argparse
import ipaddress
import json
import os
import selectors
import socket
import sys
import time

from tests.siege.siege import MEGABIT, SIEGE, Siege

TICK = 0.002
"""seconds that it sleeps where the rates allow nothing: about ten packets at 50 Mbit/s"""
READS = 256
"""datagrams that are read between two ticks, of a socket"""
SEND_BUFFER = 1 << 20  # bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--from", dest="sources", action="append", required=True)
    parser.add_argument("--rows", default=",".join(SIEGE))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    ip, _, port = options.target.rpartition(":")
    sockets = [_bound(source, (ip, int(port))) for source in options.sources]
    siege = Siege(
        options.rows.split(","),
        sources=len(sockets),
        entropy=os.urandom,
        scale=options.scale,
    )
    print(json.dumps({"event": "begun"}), flush=True)
    refused = run(siege, sockets, options.seconds)
    _report(siege, options.seconds, refused)
    return 0


def _bound(source: str, target: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ipaddress.ip_address(source).version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    sock.bind((source, 0))
    sock.connect(target)
    sock.setblocking(False)
    return sock


def run(siege: Siege, sockets: list[socket.socket], seconds: float) -> int:
    """Attacks for so long; returns how many datagrams the system did not take."""
    refused = 0

    def send(source: int, datagram: bytes) -> None:
        nonlocal refused
        try:
            sockets[source].send(datagram)
        except OSError:
            refused += 1

    selector = selectors.DefaultSelector()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        siege.poll(now, send)
        ready = selector.select(0)
        for key, _ in ready:
            for _ in range(READS):
                try:
                    datagram = key.fileobj.recv(65536)
                except OSError:
                    break
                if len(datagram) > 10:
                    siege.handle(datagram, now)
        if not ready:
            time.sleep(TICK)
    return refused


def _report(siege: Siege, seconds: float, refused: int) -> None:
    attacks = {
        attack.name: {
            "megabits": round(sent / seconds / MEGABIT, 2),
            "held": getattr(attack, "held", None),
            "retries": getattr(attack, "retries", None),
            "turned_out": getattr(attack, "closed", None),
        }
        for attack, sent in zip(siege.attacks, siege.sent, strict=True)
    }
    megabits = round(sum(siege.sent) / seconds / MEGABIT, 1)
    print(
        json.dumps({"event": "over", "megabits": megabits, "refused": refused, "attacks": attacks}),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

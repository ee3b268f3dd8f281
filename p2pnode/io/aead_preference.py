"""Which AEAD to offer first: AES-256-GCM where the processor computes it, else ChaCha20-Poly1305.

With AES instructions a packet costs half of what ChaCha20-Poly1305 takes; without them AES is
slower, and its timing depends on the key.  Nothing is measured: what cannot be told counts as
"without".
"""

import platform
import sys
from functools import lru_cache
from pathlib import Path

from p2pnode.transports.noise_udp.aead import Aead

_CPU_INFO = Path("/proc/cpuinfo")
_MAX_CPU_INFO = 64 * 1024
"""bytes; the first processor is within them"""
_X86 = ("x86_64", "amd64")
_ARM = ("aarch64", "arm64")


@lru_cache(maxsize=1)
def preferred_aeads() -> tuple[Aead, ...]:
    """Returns the AEADs in the order in which this machine is fast at them."""
    if has_aes(sys.platform, platform.machine(), _read_cpu_info()):
        return Aead.AES_256_GCM, Aead.CHACHA20_POLY1305
    return Aead.CHACHA20_POLY1305, Aead.AES_256_GCM


def has_aes(system: str, machine: str, cpu_info: str) -> bool:
    """Returns whether a processor has AES instructions; `cpu_info` is Linux's /proc/cpuinfo."""
    machine = machine.lower()
    if machine not in _X86 + _ARM:
        return False
    if system == "linux":
        for line in cpu_info.splitlines():
            name, _, features = line.partition(":")
            if name.strip() in ("flags", "Features"):  # x86 and ARM
                return "aes" in features.split()
        return False
    # Every Mac on sale since 2013 has them, and every processor that Windows 11 supports.
    return system == "darwin" or (system == "win32" and machine in _X86)


def _read_cpu_info() -> str:
    try:
        with _CPU_INFO.open("rb") as file:
            return file.read(_MAX_CPU_INFO).decode("ascii", "replace")
    except OSError:  # not Linux
        return ""

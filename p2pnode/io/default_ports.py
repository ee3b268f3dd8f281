"""Where a node listens that is not told: on one port number over UDP and TCP, and the same again.

Rule: the UDP port is the node's; where another program has TCP's port of that number, TCP gets
another one, which is remembered as well, and UDP goes on.
"""

import logging
from random import Random

from p2pnode.errors import ListenError
from p2pnode.io.folder.data_folder import (
    FIRST_PORT,
    LAST_PORT,
    PORT_ATTEMPTS,
    DataFolder,
    choose_free_port,
)
from p2pnode.io.listening import Listening

logger = logging.getLogger(__name__)


def listen_by_default(
    listening: Listening, folder: DataFolder | None, rng: Random, *, over_tcp: bool
) -> None:
    """Listens on all interfaces; a folder keeps the ports.  Raises ListenError, DataFolderError.

    Without a TCP port to be had it is UDP alone, and one sentence says so.
    """
    port = choose_free_port(rng) if folder is None else folder.load_or_choose_port(rng)
    listening.everywhere(port)
    if not over_tcp:
        return
    remembered = None if folder is None else folder.tcp_port()
    try:
        listening.everywhere_over_tcp(remembered or port)
    except ListenError as refused:
        _listen_elsewhere(listening, folder, rng, port, refused)


def _listen_elsewhere(
    listening: Listening, folder: DataFolder | None, rng: Random, port: int, refused: ListenError
) -> None:
    for _ in range(PORT_ATTEMPTS):
        other = rng.randint(FIRST_PORT, LAST_PORT)
        try:
            listening.everywhere_over_tcp(other)
        except ListenError as exc:
            logger.debug("%s", exc)
            continue
        if folder is not None:
            folder.keep_tcp_port(other)
        logger.warning(
            "%s; this node takes TCP port %d instead%s, and UDP goes on on port %d",
            refused,
            other,
            "" if folder is None else " from now on",
            port,
        )
        return
    logger.warning("%s; this node listens over UDP alone, on port %d", refused, port)

"""File transfer: one file to a peer that waits for files (specs/file_transfer.md).

The dialogue itself moves bulk data between a stream and a disk, so it is an application of the
shell (`p2pnode.io.applications`); here is what the two ends say to each other.
"""

PROTOCOL_ID = "/p2pnode/file/1.0.0"

MAX_MESSAGE_SIZE = 4096  # bytes; chosen: a name and a reason fit four times over
MAX_NAME_SIZE = 1024  # bytes of UTF-8; four times what common file systems take (NAME_MAX 255)
MAX_REASON_SIZE = 512  # bytes of UTF-8; chosen: a sentence or two
MAX_FILE_SIZE = (1 << 63) - 1  # bytes; the largest offset of POSIX files
DIGEST_SIZE = 32  # bytes; SHA-256

"""Progress bars on stderr, where stderr is a terminal; nothing at all elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from p2pnode.cli.escape import printable, shorten

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MAX_LABEL_LENGTH = 40  # characters; half of a usual terminal


class ProgressBars:
    """A bar for each file on its way."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def __enter__(self) -> "ProgressBars":
        if sys.stderr.isatty():
            self._progress = _make_progress()
            self._progress.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def add(self, label: str, size: int) -> "ProgressBar":
        """Returns a new bar; `size` is in bytes, the label may be anybody's."""
        if self._progress is None:
            return ProgressBar(None, None)
        label = shorten(printable(label), MAX_LABEL_LENGTH)
        return ProgressBar(self._progress, self._progress.add_task(label, total=size))


class ProgressBar:
    """One of the bars."""

    def __init__(self, progress: "Progress | None", task: "TaskID | None") -> None:
        self._progress = progress
        self._task = task

    def update(self, done: int) -> None:
        """`done` is in bytes since the beginning."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=done)

    def remove(self) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


def _make_progress() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )

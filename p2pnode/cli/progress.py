"""Progress bars on stderr, where stderr is a terminal; nothing at all elsewhere.

Rule: the bars are drawn only while there is one, and what is printed meanwhile appears above them.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

from p2pnode.cli.units import size_text
from p2pnode.escape import said

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.progress import Progress, ProgressColumn, TaskID

MAX_LABEL_LENGTH = 30  # characters; leaves room for the numbers in a usual terminal
MARGIN = 3
"""Columns on the right for the ^C of an interrupt: behind a bar to the edge it would wrap, and the
bar would not be found any more to be removed."""


FULL_WIDTH = 60  # columns; in less there are only the bar, the percents and the time left


class ProgressBars:
    """A bar for each file on its way."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._count = 0

    def __enter__(self) -> "ProgressBars":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._count = 0
        self._stop()

    def add(self, label: str, size: int) -> "ProgressBar":
        """Returns a new bar; `size` is in bytes, the label may be anybody's."""
        if self._progress is None:
            self._progress = _start_progress()
        if self._progress is None:
            return ProgressBar(self, None, None)
        self._count += 1
        label = said(label, MAX_LABEL_LENGTH)
        return ProgressBar(self, self._progress, self._progress.add_task(label, total=size))

    def forget_one(self) -> None:
        """A bar has been removed."""
        self._count -= 1
        if not self._count:
            self._stop()

    def _stop(self) -> None:
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.stop()


class ProgressBar:
    """One of the bars."""

    def __init__(
        self, bars: ProgressBars, progress: "Progress | None", task: "TaskID | None"
    ) -> None:
        self._bars = bars
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
            self._bars.forget_one()


def _start_progress() -> "Progress | None":
    """Returns None where stderr is not a terminal on which one can draw."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_interactive:  # TERM=dumb
        return None
    progress = _make_progress(console)
    progress.start()
    return progress


def _make_progress(console: "Console") -> "Progress":
    from rich.constrain import Constrain
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    class IndentedProgress(Progress):
        def get_renderables(self) -> "Iterable[RenderableType]":
            width = max(1, console.width - MARGIN)
            yield Constrain(self.make_tasks_table(self.tasks), width)

    label = Column(ratio=2, min_width=8, no_wrap=True)
    return IndentedProgress(
        TextColumn("{task.description}", markup=False, table_column=label),
        BarColumn(bar_width=None, table_column=Column(ratio=3, min_width=4)),
        TextColumn("{task.percentage:>3.0f} %", table_column=Column(no_wrap=True)),
        _rate_column(console),
        console=console,
        transient=True,
        expand=True,
        redirect_stdout=sys.stdout.isatty(),
    )


def _rate_column(console: "Console") -> "ProgressColumn":
    from rich.progress import ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            is_short = console.width < FULL_WIDTH
            done = None if is_short else task.completed
            speed = None if is_short else task.speed
            return Text(progress_text(done, speed, task.time_remaining))

    return RateColumn(table_column=Column(no_wrap=True))


def progress_text(done: float | None, speed: float | None, seconds_left: float | None) -> str:
    """Returns for instance "12.0 MiB, 3.4 MiB/s, 0:12 left"; bytes, and bytes a second.

    What is None is left out.
    """
    parts: list[str] = []
    if done is not None:
        parts.append(size_text(done))
    if speed:
        parts.append(f"{size_text(speed)}/s")
    if seconds_left:
        minutes, seconds = divmod(int(seconds_left), 60)
        hours, minutes = divmod(minutes, 60)
        time = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        parts.append(f"{time} left")
    return ", ".join(parts)

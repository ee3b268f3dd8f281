"""Builds the API reference from the docstrings, and checks that its links lead somewhere.

python .ci/reference.py FOLDER
"""

import pkgutil
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pdoc
import pdoc.render

import p2pnode

LEFT_OUT = ("p2pnode.__main__", "p2pnode.wire.pb.")
"""What these begin is a program, or generated."""


class _Page(HTMLParser):
    """What a page links to, and what of it can be linked to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name == "href" and tag == "a" and value:
                self.links.append(value)


def modules() -> list[str]:
    """Returns the names of the package and of all its modules."""
    found = pkgutil.walk_packages(p2pnode.__path__, f"{p2pnode.__name__}.")
    names = [p2pnode.__name__, *(module.name for module in found)]
    return [name for name in names if not name.startswith(LEFT_OUT)]


def build(folder: Path) -> None:
    """Writes a page a module."""
    for name in p2pnode.__all__:
        getattr(p2pnode, name)  # public names are imported when they are first used
    # Generated modules have no page, types for type checkers only are shown as they are written,
    # and a module may be found twice: by its own name, and below its package's.
    warnings.filterwarnings("ignore", module=r"pdoc\.")
    pdoc.render.configure(docformat="markdown", show_source=False)
    pdoc.pdoc(*modules(), output_directory=folder)


def dead_links(folder: Path) -> list[str]:
    """Returns the links inside `folder` that lead to no page or to no place on it."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    dead = []
    for path, page in sorted(pages.items()):
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or parts.fragment.startswith("_"):
                continue  # pdoc links private base classes, and gives them no place on a page
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = pages.get(target)
            if found is None or (parts.fragment and unquote(parts.fragment) not in found.anchors):
                dead.append(f"{path.relative_to(folder)}: {link}")
    return dead


def main() -> int:
    if len(sys.argv) != len(("reference.py", "FOLDER")):
        print(__doc__)
        return 2
    folder = Path(sys.argv[1]).resolve()
    build(folder)
    dead = dead_links(folder)
    for link in dead:
        print(f"dead link: {link}")
    pages = sum(1 for _ in folder.rglob("*.html"))
    print(f"{pages} pages in {folder}, {len(dead)} dead links")
    return 1 if dead or not pages else 0


if __name__ == "__main__":
    sys.exit(main())

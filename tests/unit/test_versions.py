"""The version is said in three places, and is the same in all of them; a revision in two."""

import re
import tomllib
from pathlib import Path

from p2pnode.swarm.config import DEFAULT_AGENT_VERSION

ROOT = Path(__file__).parents[2]
RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d\d-\d\d)$", re.MULTILINE)


def releases() -> list[tuple[str, str]]:
    """Returns the versions of the changelog with their dates, newest first."""
    return RELEASE.findall((ROOT / "specs/CHANGELOG.md").read_text(encoding="utf-8"))


def test_the_package_the_agent_and_the_newest_changes_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert f"p2pnode/{project['version']}" == DEFAULT_AGENT_VERSION
    assert releases()[0][0] == project["version"]


def test_the_changelog_goes_from_the_newest_version_to_the_oldest() -> None:
    versions = [tuple(map(int, version.split("."))) for version, _ in releases()]
    dates = [date for _, date in releases()]

    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_the_index_of_the_specs_names_the_revision_that_each_page_has() -> None:
    index = (ROOT / "specs/README.md").read_text(encoding="utf-8")
    named = dict(re.findall(r"^\| \[(\w+\.md)\].*working draft, (r\d+) \|$", index, re.MULTILINE))
    stated = {
        page: re.findall(
            r"^\| \d[A-C] \|.* (r\d+) \|$",
            (ROOT / "specs" / page).read_text(encoding="utf-8"),
            re.MULTILINE,
        )
        for page in named
    }

    assert "file_transfer.md" in named
    assert stated == {page: [revision] for page, revision in named.items()}

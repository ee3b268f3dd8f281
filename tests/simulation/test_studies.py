"""The studies of simulations/ run, and say what their results in the repository say."""

import json
from dataclasses import asdict

from simulations.bad_links import RESULTS, Scenario, run


def test_the_study_of_bad_links_gives_its_results_again() -> None:
    kept = [json.loads(line) for line in (RESULTS / "bad_links.jsonl").read_text().splitlines()]
    by_key = {(result["link"], result["seed"]): result for result in kept}
    for link in ("good wifi", "congested wifi"):
        assert asdict(run(Scenario(link), 0)) == by_key[link, 0]

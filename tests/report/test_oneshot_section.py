from __future__ import annotations

import re

import pytest
from report.run_folder import RunFolder

from dpod_search.figures.text import percent
from dpod_search.report import read_run
from dpod_search.report import write_report
from dpod_search.report.oneshot_section import show_oneshot


def show(run: RunFolder) -> tuple[list[str], list[list[str]], str]:
    """Return heads, rows and the whole markup."""
    markup = show_oneshot(read_run(run.write()))
    rows = re.findall("<tr>(.*?)</tr>", markup)
    heads, *cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return heads, cells, markup


def test_a_search_has_no_such_section(run: RunFolder) -> None:
    assert show_oneshot(read_run(run.write())) == ""
    assert "without a search" not in write_report(run.folder).read_text()


def test_each_budget_has_its_subnet_and_its_proof(run: RunFolder) -> None:
    choices = run.skip_search()["choices"]
    heads, rows, markup = show(run)
    assert heads == [
        "budget", "trial", "MACs", "of full", "params", "of full", "importance kept", "optimal",
    ]  # fmt: skip
    assert [row[0] for row in rows] == [
        f"macs ≤ {n}\u00a0% of the full net&#x27;s" for n in (10, 60)
    ]
    assert [row[1] for row in rows] == [str(row["number"]) for row in run.rows]
    full = run.documents["search.json"]["full"]["macs"]
    for row, choice in zip(rows, choices, strict=True):
        assert row[2] == f"{choice['footprint']['macs']:,}"
        assert row[3] == percent(choice["footprint"]["macs"] / full)
    assert [row[6:] for row in rows] == [
        [percent(0.625), "proven"],
        [percent(0.9), "at most 2.1\u00a0% better"],
    ]
    assert "params ≤ 9: the smallest subnet has 99; raise the budget" in markup


def test_a_measured_share_is_shown_and_a_failed_trial_named(run: RunFolder) -> None:
    run.skip_search()["choices"][0]["measured_share"] = 0.447
    run.rows[1]["fate"] = "failed"
    heads, rows, _ = show(run)
    place = heads.index("measured latency, of full")
    assert [row[place] for row in rows] == [percent(0.447), "–"]
    assert rows[1][1] == f"{run.rows[1]['number']} (failed)"


def test_a_method_that_knows_no_optimum_claims_none(run: RunFolder) -> None:
    run.skip_search("uniform")
    heads, _, markup = show(run)
    assert "optimal" not in heads
    assert "importance" not in markup
    assert "What uniform chose" in markup


@pytest.mark.parametrize("method", ["mdp", "random", "one of the future"])
def test_the_page_says_at_the_top_that_nothing_was_searched(run: RunFolder, method: str) -> None:
    run.skip_search(method)
    page = re.sub(
        "<script.*?</script>", "", write_report(run.write()).read_text(), flags=re.DOTALL
    )
    top = page.partition("<nav")[0]
    assert f"chosen by {method}" in top
    told = [f"macs ≤ {n}\u00a0% of the full net&#39;s" for n in (10, 60)]
    assert f"at 3 budgets ({', '.join(told)}, params ≤ 9)" in top.replace("&#x27;", "&#39;")
    assert "without a search: 2 subnets" in top
    assert "The search set out" not in page
    for word in ("surrogate", "audit", "as searched", "Hypervolume", "has not run"):
        assert word not in page
    # What is dominated was chosen all the same.
    before = page.partition('<section id="searched"')[2].partition("</section>")[0]
    assert before.count("<tr>") == 1 + 2


def test_the_finetuned_table_has_shares_of_latency(run: RunFolder) -> None:
    plain = write_report(run.write()).read_text()
    assert "latency of the full net" not in plain
    run.model_latency()
    page = write_report(run.write()).read_text()
    section = page.partition('<section id="finetuned"')[2].partition("</section>")[0]
    assert "latency of the full net&#x27;s, modelled</th>" in section
    assert "latency of the full net&#x27;s, measured</th>" in section
    member = run.documents["front.json"]["members"][2]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", section.split("<tr>")[2 + 2])
    assert percent(member["measured_latency_share"]) in cells
    assert percent(member["measured_latency_share"] - 0.03) in cells

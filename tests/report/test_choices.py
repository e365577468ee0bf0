from __future__ import annotations

import re

from report.run_folder import RunFolder

from dpod_search.figures.text import percent
from dpod_search.intervals import compute_wilson_interval
from dpod_search.report import read_run
from dpod_search.report.choices import show_picks
from dpod_search.report.picks import list_chosen


def show_rows(run: RunFolder) -> list[list[str]]:
    body = show_picks(read_run(run.write())).split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall("<tr>(.*?)</tr>", body)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_the_user_s_budgets_come_first_in_their_order(run: RunFolder) -> None:
    small, large = run.front[1], run.front[4]
    run.choose("macs<=25%", large)
    run.choose("params<=2k,macs<=5M", small)
    run.choose("macs<=1", None)
    rows = show_rows(run)
    assert rows[0][:2] == ["macs ≤ 25\u00a0% of the full net&#x27;s", str(large)]
    rows = [row for row in rows if row[0] != "better: as good, and cheaper"]
    assert rows[1][:2] == ["params ≤ 2k, macs ≤ 5M", str(small)]
    assert rows[2][1] == "–"
    assert rows[2][-1] == "none was chosen"
    why = "no member of the front meets it; the smallest has 9 macs"
    run.documents["front.json"]["unmet_budgets"] = {"macs<=1": why}
    assert f"macs ≤ 1: {why}" in show_picks(read_run(run.write()))
    assert rows[0][-1] == f'<a href="./{large}/">{large}/</a>'
    assert rows[-1][0] == "full net"


def test_knees_are_named(run: RunFolder) -> None:
    run.documents["front.json"]["members"][2]["knee"] = True
    assert show_rows(run)[0][:2] == ["no budget: a knee", str(run.front[2])]


def test_budgets_with_one_answer_share_a_row(run: RunFolder) -> None:
    members = run.documents["front.json"]["members"]
    members[0] |= {"macs_share": 0.01, "validation_accuracy": 0.999}
    assert show_rows(run)[0][0] == (
        "≤ 5\u00a0%, 10\u00a0%, 25\u00a0%, 50\u00a0%, 100\u00a0% of the full net&#x27;s MACs"
    )
    assert len(show_rows(run)) == 2


def test_several_members_of_one_budget_are_told_by_validation(run: RunFolder) -> None:
    run.choose("macs<=50%", run.front[0])
    members = run.documents["front.json"]["members"]
    members[3]["budgets"] = ["macs<=50%"]
    members[3]["validation_accuracy"] = 0.999
    front = read_run(run.write()).front
    assert front is not None
    (chosen,) = list_chosen(front)
    assert chosen.member is not None
    assert chosen.member.trial == run.front[3]


def test_how_much_the_test_pictures_can_tell(run: RunFolder) -> None:
    members = run.documents["front.json"]["members"]
    for member in members:
        member |= {"validation_accuracy": 0.9, "test_accuracy": 0.95}
    low, high = compute_wilson_interval(0.95, 400)
    markup = show_picks(read_run(run.write()))
    assert f"anything from {percent(low)} to {percent(high)}" in markup
    (run.folder / "training.json").unlink()
    assert "anything from" not in show_picks(read_run(run.folder))


def show_tables(run: RunFolder) -> list[list[list[str]]]:
    """Return the cells of every table of the section, the heads first."""
    markup = show_picks(read_run(run.write()))
    tables = re.findall("<table>(.*?)</table>", markup, flags=re.DOTALL)
    rows = [re.findall("<tr>(.*?)</tr>", table) for table in tables]
    return [[re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in table] for table in rows]


def test_the_caption_tells_given_budgets_from_shares(run: RunFolder) -> None:
    assert "your budgets" not in show_picks(read_run(run.write()))
    run.choose("macs<=25%", run.front[4])
    assert "First your budgets, with the subnet that the search chose for each." in show_picks(
        read_run(run.write())
    )


def test_wishes_for_latency_stand_beside_the_clock(run: RunFolder) -> None:
    run.model_latency()
    members = run.documents["front.json"]["members"]
    first, second, third = members[1], members[3], members[4]
    first["measured_latency_share"], second["measured_latency_share"] = 0.49, 0.531
    del third["measured_latency_share"]
    for budget, member in (
        ("latency<=50%", first),
        ("macs<=80% and latency <= 50 %", second),
        ("latency<=0.5", third),
        ("macs<=70%", third),
    ):
        run.choose(budget, member["trial"])
    of_full = run.documents["front.json"]["full"]["latency"]
    _, wishes = show_tables(run)
    modelled = [percent(m["latency"] / of_full) for m in (first, second, third)]
    half = percent(0.5)
    assert [row[2:] for row in wishes[1:]] == [
        [half, modelled[0], percent(0.49), "\u22121.0", "yes"],
        [half, modelled[1], percent(0.531), "3.1", "no"],
        [percent(0.5 / of_full), modelled[2], "–", "–", "not measured"],
    ]


def test_without_a_budget_on_latency_there_are_no_wishes(run: RunFolder) -> None:
    run.model_latency()
    run.choose("macs<=70%", run.front[2])
    assert len(show_tables(run)) == 1


def test_subnets_of_an_earlier_search_are_told_of(run: RunFolder) -> None:
    assert "earlier search" not in show_picks(read_run(run.write()))
    run.documents["front.json"]["members"][2]["trial"] = 999
    markup = show_picks(read_run(run.write()))
    assert "1 finetuned subnet of an earlier search is left out" in markup
    assert "dpod-search finetune" in markup


def make_equal(run: RunFolder) -> None:
    """Make all members right on 90 % of validation, the full net too."""
    for member in run.documents["front.json"]["members"]:
        member |= {"validation_accuracy": 0.9, "test_accuracy": 0.95}


def test_what_is_cheaper_and_as_good_stands_below_what_was_chosen(run: RunFolder) -> None:
    run.choose("macs<=25%", run.front[3])
    assert not any("better" in row[0] for row in show_rows(run)[1:2])
    make_equal(run)
    rows = show_rows(run)
    assert rows[0][1] == str(run.front[3])
    assert rows[1][:2] == ["better: as good, and cheaper", str(run.front[0])]


def test_a_knee_gives_way_to_what_is_cheaper_and_as_good(run: RunFolder) -> None:
    run.documents["front.json"]["members"][2]["knee"] = True
    make_equal(run)
    assert show_rows(run)[0][:2] == ["no budget: as good as the knee", str(run.front[0])]


def test_the_caption_tells_the_rule_and_on_how_many_samples(run: RunFolder) -> None:
    assert "within one standard error of it, which is all that 400 samples can tell" in (
        show_picks(read_run(run.write()))
    )
    (run.folder / "training.json").unlink()
    assert "no standard error of it is known" in show_picks(read_run(run.folder))


def test_rows_say_in_words_how_they_compare_with_the_full_net(run: RunFolder) -> None:
    for member, accuracy in zip(
        run.documents["front.json"]["members"], (0.961, 0.98, 0.99), strict=False
    ):
        member["test_accuracy"] = accuracy
    for i in range(3):
        run.choose(f"macs<={i + 10}%", run.front[i])
    told = [row[-2] for row in show_rows(run)[:6] if row[0].startswith("macs")]
    assert told == ["1.9 points less accurate", "equally accurate", "1.0 point more accurate"]


def test_models_are_linked_from_the_report_s_place_if_they_were_exported(run: RunFolder) -> None:
    models = run.documents["exported/manifest.json"]["models"]
    for model in models:
        path = f"exported/{model['trial']}/model.safetensors"
        files = {"path": path, "sha256": "0f" * 32, "bytes": 9}
        model["files"] = {"safetensors": files, "python": files | {"path": path[:-11] + "py"}}
    left_out = models.pop(0)["trial"]
    for budget, trial in (("macs<=9%", left_out), ("macs<=19%", run.front[1])):
        run.choose(budget, trial)
    markup = show_picks(read_run(run.write()))
    assert f'href="./exported/{run.front[1]}/"' in markup
    assert f"exported/{left_out}/" not in markup
    assert "not exported" in markup
    # The code runs where the report lies.
    assert re.search(r"code\.load\(&quot;exported/\d+/model\.safetensors&quot;\)", markup)


def test_latency_stands_beside_what_was_measured_of_it(run: RunFolder) -> None:
    clock = "latency, measured, of the full net&#x27;s"
    heads = show_tables(run)[0][0]
    assert "latency (ms, modelled)" not in heads
    assert clock not in heads
    run.model_latency()
    heads, *rows = show_tables(run)[0]
    assert "latency (ms, modelled)" in heads
    assert rows[-1][heads.index(clock)] == percent(1.0)

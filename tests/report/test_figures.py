from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import pytest
from report.run_folder import FULL_MACS
from report.run_folder import GROUPS
from report.run_folder import RunFolder

from dpod_search.figures.hypervolume import REFERENCE
from dpod_search.figures.hypervolume import trace_hypervolume
from dpod_search.intervals import compute_wilson_interval
from dpod_search.pareto import compute_hypervolume
from dpod_search.report import FIGURES
from dpod_search.report import Absent
from dpod_search.report import Drawing
from dpod_search.report import read_run
from dpod_search.report import write_report


DRAW = {kind.name: kind.draw for kind in FIGURES}


def draw(run: RunFolder, name: str) -> Drawing:
    drawing = DRAW[name](read_run(run.write()))
    assert isinstance(drawing, Drawing), drawing
    return drawing


def find_trace(figure: go.Figure, name: str) -> go.Scatter:
    (trace,) = [trace for trace in figure.data if trace.name == name]
    return trace


def test_names_are_unique_and_fit_for_files() -> None:
    assert len(DRAW) == len(FIGURES)
    assert all(name.isidentifier() for name in DRAW)


def test_tables_become_csv(run: RunFolder) -> None:
    for name in set(DRAW) - {"latency"}:
        table = draw(run, name).table
        rows = list(csv.reader(io.StringIO(table.to_csv())))
        assert tuple(rows[0]) == table.columns
        assert len(rows) == 1 + len(table.rows)
        assert {len(row) for row in rows} == {len(table.columns)}


class TestFront:
    def test_every_trial_is_drawn_once_under_its_fate(self, run: RunFolder) -> None:
        figure = draw(run, "front").figure
        for fate, n in run.documents["search.json"]["counts"].items():
            traces = [t for t in figure.data if t.name in {fate, f"{fate} (no value)"}]
            assert sum(len(trace.x) for trace in traces) == n

    def test_pruned_trials_stand_hollow_at_their_prediction(self, run: RunFolder) -> None:
        pruned = [row for row in run.rows if row["fate"] == "pruned-surrogate"]
        trace = find_trace(draw(run, "front").figure, "pruned-surrogate")
        assert list(trace.y) == [row["predicted_accuracy"] for row in pruned]
        assert trace.marker.symbol.endswith("-open")

    def test_fates_differ_in_shape_and_not_only_in_colour(self, run: RunFolder) -> None:
        fates = set(run.documents["search.json"]["counts"])
        figure = draw(run, "front").figure
        traces = [t for t in figure.data if t.name and t.name.split(" (")[0] in fates]
        symbols = {trace.name.split(" (")[0]: trace.marker.symbol for trace in traces}
        assert len(set(symbols.values())) == len(symbols) == 6

    def test_hover_tells_number_widths_and_reason(self, run: RunFolder) -> None:
        pruned = next(row for row in run.rows if row["fate"] == "pruned-surrogate")
        trace = find_trace(draw(run, "front").figure, "pruned-surrogate")
        assert f"<b>trial {pruned['number']}</b>" in trace.hovertext[0]
        assert f"stage2.out {pruned['width:stage2.out']}" in trace.hovertext[0]
        assert "reason: pruned-surrogate: see the log" in trace.hovertext[0]

    def test_stairs_are_the_searched_front(self, run: RunFolder) -> None:
        stairs = find_trace(draw(run, "front").figure, "searched front")
        by_number = {row["number"]: row for row in run.rows}
        assert list(stairs.x) == [by_number[number]["macs"] for number in run.front]
        assert list(stairs.y) == [by_number[number]["accuracy"] for number in run.front]

    def test_lines_lead_from_before_to_after_finetuning(self, run: RunFolder) -> None:
        line = find_trace(draw(run, "front").figure, "gain by finetuning")
        member = run.documents["front.json"]["members"][0]
        ends = (member["validation_accuracy_before"], member["validation_accuracy"], None)
        assert line.y[:3] == ends

    def test_the_full_net_is_a_star(self, run: RunFolder) -> None:
        star = find_trace(draw(run, "front").figure, "full net")
        assert (star.x[0], star.y[0]) == (FULL_MACS, 0.965)
        assert star.marker.symbol == "star-open"

    def test_ticks_span_what_is_drawn(self, run: RunFolder) -> None:
        ticks = draw(run, "front").figure.layout.xaxis
        assert ticks.tickvals[0] <= min(row["macs"] for row in run.rows)
        assert ticks.tickvals[-1] >= FULL_MACS
        assert "200k" in ticks.ticktext

    def test_an_empty_front_has_no_stairs(self, run: RunFolder) -> None:
        run.documents["search.json"]["front"] = []
        del run.documents["front.json"]
        names = [trace.name for trace in draw(run, "front").figure.data]
        assert "searched front" not in names
        assert "evaluated" in names

    def test_a_footprint_upwards_keeps_its_unit(self, run: RunFolder) -> None:
        run.add_footprint("peak_bytes", 10)
        run.replace_objectives({"peak_bytes": "minimize"})
        layout = draw(run, "front").figure.layout
        assert layout.yaxis.title.text == "peak activation memory (bytes)"

    @pytest.mark.parametrize(
        ("objectives", "y"),
        [
            ({"accuracy": "maximize"}, "accuracy"),
            ({"error": "minimize", "macs": "minimize"}, "error"),
            ({"latency_ms": "minimize", "accuracy": "maximize", "macs": "minimize"}, "accuracy"),
            ({"macs": "minimize", "params": "minimize"}, "params"),
            ({"macs": "minimize"}, "params"),
            ({"a": "maximize", "b": "minimize", "c": "maximize", "params": "minimize"}, "a"),
        ],
    )
    def test_any_objectives_can_be_drawn(
        self, run: RunFolder, objectives: Mapping[str, str], y: str
    ) -> None:
        run.replace_objectives(objectives)
        front = draw(run, "front")
        assert y in front.table.columns
        stairs = find_trace(front.figure, "searched front")
        assert sorted(stairs.x) == list(stairs.x)
        for name in ("hypervolume", "widths"):
            assert draw(run, name).table.rows


class TestHypervolume:
    @pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
    def test_agrees_with_direct_computation(self, n_objectives: int) -> None:
        points = np.random.default_rng(n_objectives).random((40, n_objectives)).round(1)
        reference = np.full(n_objectives, REFERENCE)
        box = REFERENCE**n_objectives
        direct = [compute_hypervolume(points[: i + 1], reference) / box for i in range(40)]
        assert trace_hypervolume(points) == pytest.approx(direct)

    def test_rises_only_when_the_front_grows(self, run: RunFolder) -> None:
        table = draw(run, "hypervolume").table
        shares = table.column("hypervolume")
        rows = {row["number"]: row for row in run.rows}
        seen: list[tuple[float, float]] = []
        before = 0.0
        for number, share in zip(table.column("trial"), shares, strict=True):
            point = (rows[number]["macs"], -rows[number]["accuracy"])
            beaten = any(a <= point[0] and b <= point[1] for a, b in seen)
            assert (share == before) == beaten
            seen.append(point)
            before = share

    def test_counts_measured_trials_and_tells_the_reference_point(self, run: RunFolder) -> None:
        drawing = draw(run, "hypervolume")
        measured = [row for row in run.rows if row["accuracy"] != ""]
        assert drawing.table.column("trial") == tuple(row["number"] for row in measured)
        values = [row["accuracy"] for row in measured]
        worst = min(values) - 0.1 * (max(values) - min(values))
        assert f"accuracy {100 * worst:.2f}" in drawing.caption
        assert "MACs in log scale" in drawing.caption

    def test_is_absent_without_any_measured_trial(self, run: RunFolder) -> None:
        for row in run.rows:
            row |= {"fate": "failed", "accuracy": "", "on_front": False}
        run.documents["search.json"]["front"] = []
        assert isinstance(DRAW["hypervolume"](read_run(run.write())), Absent)


class TestWidths:
    def test_ratios_ascend_in_macs(self, run: RunFolder) -> None:
        drawing = draw(run, "widths")
        shares = drawing.table.rows[0][2:]
        assert list(shares) == sorted(
            m["macs_share"] for m in run.documents["front.json"]["members"]
        )
        member = run.documents["front.json"]["members"][0]
        column = [row[0] for row in drawing.figure.data[0].z]
        assert column == [
            width / full
            for width, full in zip(
                member["widths"].values(), drawing.table.column("full")[1:], strict=True
            )
        ]
        assert f"{100 * member['macs_share']:.1f}" in drawing.figure.layout.xaxis.ticktext[0]

    def test_the_searched_front_stands_in_before_finetuning(self, run: RunFolder) -> None:
        with_finetuning = draw(run, "widths").table
        (run.folder / "front.json").unlink()
        del run.documents["front.json"]
        assert draw(run, "widths").table == with_finetuning

    def test_an_empty_front_has_no_widths(self, run: RunFolder) -> None:
        run.documents["search.json"]["front"] = []
        run.documents["front.json"]["members"] = []
        assert isinstance(DRAW["widths"](read_run(run.write())), Absent)


class TestSurrogate:
    def test_coverage_is_that_of_the_table(self, run: RunFolder) -> None:
        drawing = draw(run, "surrogate")
        covered = drawing.table.column("is_covered")
        rows = [
            row
            for row in run.rows
            if row["fate"] in {"evaluated", "audited"} and row["predicted_accuracy"] != ""
        ]
        expected = [abs(row["accuracy"] - row["predicted_accuracy"]) <= 0.018 for row in rows]
        assert list(covered) == expected
        assert f"covers {sum(expected)} of {len(rows)} measured values" in drawing.caption

    def test_endless_intervals_have_no_bar(self, run: RunFolder) -> None:
        for row in run.rows:
            row |= {"predicted_accuracy_low": "-inf", "predicted_accuracy_high": "inf"}
        drawing = draw(run, "surrogate")
        assert all(drawing.table.column("is_covered"))
        trace = find_trace(drawing.figure, "evaluated")
        assert set(trace.error_y.array) == {None}

    def test_is_absent_without_predictions(self, run: RunFolder) -> None:
        for row in run.rows:
            row["predicted_accuracy"] = ""
        assert isinstance(DRAW["surrogate"](read_run(run.write())), Absent)


class TestTraining:
    def test_curves_are_the_history(self, run: RunFolder) -> None:
        drawing = draw(run, "training")
        history = run.documents["training.json"]["history"]
        assert drawing.table.column("loss") == tuple(entry["loss"] for entry in history)
        trace = find_trace(drawing.figure, "loss of the partial nets")
        assert list(trace.y) == [entry["partial_loss"] for entry in history]

    def test_a_curve_that_the_policy_has_not_is_left_out(self, run: RunFolder) -> None:
        for entry in run.documents["training.json"]["history"]:
            entry["partial_loss"] = None
        names = [trace.name for trace in draw(run, "training").figure.data]
        assert names == ["loss of the full net", "learning rate"]

    def test_no_history_and_no_path_are_told(self, run: RunFolder) -> None:
        run.documents["training.json"]["history"] = []
        run.documents["path.json"]["profiles"] = []
        read = read_run(run.write())
        assert DRAW["training"](read) == Absent("The training kept no history.")
        assert DRAW["path"](read) == Absent("The policy of this training makes no path.")

    def test_the_path_is_drawn_by_macs(self, run: RunFolder) -> None:
        profiles = run.documents["path.json"]["profiles"]
        profiles[2]["accuracy"] = None
        drawing = draw(run, "path")
        assert drawing.table.column("macs") == tuple(profile["macs"] for profile in profiles)
        assert drawing.figure.data[0].y[2] is None


class TestFinetuned:
    def test_before_after_and_test_are_the_members(self, run: RunFolder) -> None:
        figure = draw(run, "finetuned").figure
        members = run.documents["front.json"]["members"]
        for name, key in (
            ("before, on validation", "validation_accuracy_before"),
            ("after, on validation", "validation_accuracy"),
            ("after, on test", "test_accuracy"),
        ):
            (trace,) = [t for t in figure.data if t.name == name and t.mode == "markers"]
            assert list(trace.y) == [member[key] for member in members]

    def test_bars_are_what_the_test_pictures_allow(self, run: RunFolder) -> None:
        drawing = draw(run, "finetuned")
        member = run.documents["front.json"]["members"][0]
        low, high = compute_wilson_interval(member["test_accuracy"], 400)
        assert (drawing.table.column("test_low")[0], drawing.table.column("test_high")[0]) == (
            low,
            high,
        )
        bars = find_trace(drawing.figure, "after, on test").error_y
        assert bars.array[0] == pytest.approx(high - member["test_accuracy"])
        assert "400 test pictures" in drawing.caption

    def test_without_the_number_of_pictures_there_are_no_bars(self, run: RunFolder) -> None:
        del run.documents["training.json"]
        drawing = draw(run, "finetuned")
        assert find_trace(drawing.figure, "after, on test").error_y.array is None
        assert "95" not in drawing.caption

    def test_knees_and_budgets_are_marked(self, run: RunFolder) -> None:
        run.documents["front.json"]["members"][2]["knee"] = True
        run.choose("macs<=50%", run.front[3])
        drawing = draw(run, "finetuned")
        members = run.documents["front.json"]["members"]
        knee, budget = (
            find_trace(drawing.figure, name) for name in ("knee", "chosen for a budget")
        )
        assert (knee.x[0], budget.x[0]) == (members[2]["macs"], members[3]["macs"])
        assert "knee" in drawing.caption
        assert drawing.table.column("budgets")[3] == "macs<=50%"


class TestGroups:
    def test_importance_is_that_of_the_search(self, run: RunFolder) -> None:
        shares = dict(zip(GROUPS, (0.4, 0.3, 0.1, 0.15, 0.05), strict=True))
        run.documents["search.json"]["importance"] = {"accuracy": shares, "latency_ms": shares}
        run.documents["search.json"]["importance_r2"] = {"accuracy": 0.93}
        drawing = draw(run, "importance")
        assert [trace.name for trace in drawing.figure.data] == ["accuracy", "latency (ms)"]
        assert list(drawing.figure.data[0].x) == list(shares.values())
        assert "accuracy with an R² of 0.93." in drawing.caption
        patterns = {trace.marker.pattern.shape for trace in drawing.figure.data}
        assert len(patterns) == 2

    def test_what_is_not_known_is_told(self, run: RunFolder) -> None:
        run.documents["search.json"]["importance"] = {}
        absent = DRAW["importance"](read_run(run.write()))
        assert isinstance(absent, Absent)
        assert "Too few trials" in absent.reason
        for group in run.documents["search.json"]["groups"]:
            del group["shares"]
        absent = DRAW["footprint"](read_run(run.write()))
        assert absent == Absent("What each group weighs was not measured.")

    def test_footprint_is_that_of_the_groups(self, run: RunFolder) -> None:
        table = draw(run, "footprint").table
        assert table.columns == ("group", "macs", "params")
        assert table.column("group") == tuple(GROUPS)
        assert table.column("macs") == (0.1, 0.2, 0.3, 0.4, 0.5)


class TestCalibration:
    def test_bins_hold_every_predicted_trial_once(self, run: RunFolder) -> None:
        table = draw(run, "calibration").table
        chosen = [row for row in table.rows if row[0] == "coverage of accuracy"]
        surrogate = draw(run, "surrogate").table
        assert sum(row[3] for row in chosen) == len(surrogate.rows)
        covered = sum(round(row[3] * row[4]) for row in chosen)
        assert covered == sum(surrogate.column("is_covered"))
        assert all(row[3] >= 10 for row in chosen)
        firsts = [row[1] for row in chosen]
        assert firsts == sorted(firsts)

    def test_audits_are_those_of_the_search(self, run: RunFolder) -> None:
        drawing = draw(run, "calibration")
        rates = {row[0]: row[4:] for row in drawing.table.rows if row[1] is None}
        assert rates == {"false prunes": (1 / 7, 0.026, 0.513), "saved": (0.875, 0.529, 0.978)}
        assert "1 of 7" in drawing.caption
        assert "90" in drawing.caption

    def test_without_audits_or_settings_the_coverage_is_left(self, run: RunFolder) -> None:
        counts = dict.fromkeys(("n_audited", "n_wrong", "n_drawn"), 0)
        audit = run.documents["search.json"]["audit"]
        run.documents["search.json"]["audit"] = dict.fromkeys(audit) | counts
        run.config = ""
        drawing = draw(run, "calibration")
        assert len(drawing.figure.data) == 1
        assert "promised" not in drawing.caption
        assert "No pruned trial was audited" in drawing.caption


class TestLatency:
    def test_is_left_out_where_it_was_not_searched(self, run: RunFolder) -> None:
        absent = DRAW["latency"](read_run(run.write()))
        assert isinstance(absent, Absent)
        assert absent.is_left_out
        assert "figure-latency" not in write_report(run.folder).read_text()

    @pytest.mark.parametrize("sign", [1, -1])
    def test_tells_how_well_macs_stand_in_for_it(self, run: RunFolder, sign: int) -> None:
        run.replace_objectives({"accuracy": "maximize", "latency_ms": "minimize"})
        for row in run.rows:
            row["latency_ms"] = 5 + sign * row["macs"] / 1e6 if row["accuracy"] != "" else ""
        drawing = draw(run, "latency")
        assert f"{sign:.2f}" in drawing.caption
        assert len(drawing.table.rows) == sum(row["accuracy"] != "" for row in run.rows)

    def test_the_model_is_drawn_with_its_error_and_its_device(self, run: RunFolder) -> None:
        run.model_latency()
        run.write()
        drawing = draw(run, "latency")
        drawn = find_trace(drawing.figure, "modelled")
        assert list(drawn.y) == [row["latency"] for row in run.rows]
        for told in ("4.3\u00a0% off", "11.9\u00a0% at worst on 16 subnets", "with 0.99"):
            assert told in drawing.caption
        assert "Toy 9000 (cpu), eager with torch 2.9.0, 1 thread" in drawing.caption
        assert "another device" not in drawing.caption
        assert drawing.table.column("latency") == tuple(row["latency"] for row in run.rows)

    def test_the_clock_stands_against_the_model(self, run: RunFolder) -> None:
        run.model_latency()
        drawing = draw(run, "latency")
        members = run.documents["front.json"]["members"]
        timed = find_trace(drawing.figure, "finetuned subnets")
        assert list(timed.y) == [m["measured_latency_share"] for m in members]
        diagonal = find_trace(drawing.figure, "measured = modelled")
        assert list(diagonal.x) == list(diagonal.y)
        assert "3.0 points apart" in drawing.caption
        known = {row[0]: row[-1] for row in drawing.table.rows if row[-1] is not None}
        assert known == {m["trial"]: m["measured_latency_share"] for m in members}

    def test_a_table_of_another_device_is_told_plainly(self, run: RunFolder) -> None:
        run.model_latency()
        difference = "processor: Toy 9000 -> Toy 1"
        run.documents["latency.json"] |= {"is_other_device": True, "difference": difference}
        for member in run.documents["front.json"]["members"]:
            del member["measured_latency_share"]
        drawing = draw(run, "latency")
        assert f"another device than the one that the run was made on ({difference})" in (
            drawing.caption
        )
        assert {trace.name for trace in drawing.figure.data} == {"modelled", "full net"}
        assert drawing.table.columns == ("trial", "macs", "latency")

    def test_measured_and_modelled_stand_side_by_side(self, run: RunFolder) -> None:
        run.model_latency()
        run.replace_objectives({"accuracy": "maximize", "latency_ms": "minimize"})
        drawing = draw(run, "latency")
        columns = ("trial", "macs", "latency_ms", "latency", "modelled_share", "measured_share")
        assert drawing.table.columns == columns
        measured = find_trace(drawing.figure, "measured by the search")
        assert measured.marker.symbol != find_trace(drawing.figure, "modelled").marker.symbol


class TestOneShot:
    def test_what_tells_of_a_search_is_left_out(self, run: RunFolder) -> None:
        run.skip_search()
        read = read_run(run.write())
        left_out = {name for name, draw in DRAW.items() if isinstance(draw(read), Absent)}
        assert left_out == {
            "importance", "latency", "hypervolume", "surrogate", "calibration", "path",
        }  # fmt: skip
        for name in left_out:
            absent = DRAW[name](read)
            assert isinstance(absent, Absent)
            assert absent.is_left_out

    def test_captions_do_not_speak_of_a_search(self, run: RunFolder) -> None:
        run.skip_search()
        for name in ("front", "finetuned"):
            caption = draw(run, name).caption
            assert "search" not in caption
            assert "surrogate" not in caption
        assert "It alone was trained" in draw(run, "training").caption
        assert "searched front" not in {t.name for t in draw(run, "front").figure.data}


def test_one_profile_is_no_path(run: RunFolder) -> None:
    run.documents["training.json"]["policy"] = "dense"
    profiles = run.documents["path.json"]["profiles"]
    assert "8 profiles from the full net on the right" in draw(run, "path").caption
    del profiles[1:]
    caption = draw(run, "path").caption
    assert "The training policy dense makes no path" in caption
    assert "on the right" not in caption

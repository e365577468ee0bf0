from __future__ import annotations

import json
from typing import Any

import plotly.graph_objects as go
from report.run_folder import RunFolder

from dpod_search.report import FIGURES
from dpod_search.report import Drawing
from dpod_search.report import read_run
from dpod_search.report.packing import pack_figure


def unpack(document: dict[str, Any]) -> list[list[str] | None]:
    """Do what ``page.js`` does."""
    words, texts = document["words"], document["texts"]
    return [
        None
        if "hovertext" not in trace or not isinstance(trace["hovertext"][0], int)
        else ["".join(words[i] for i in texts[number]) for number in trace["hovertext"]]
        for trace in document["data"]
    ]


def test_hover_texts_come_back_as_they_were(run: RunFolder, hostile: str) -> None:
    run.rename_group("stem", hostile)
    for row in run.rows:
        row["reason"] = f"  two  spaces\n<b>{hostile}"
    read = read_run(run.write())
    drawn = [kind.draw(read) for kind in FIGURES]
    n_packed = 0
    for drawing in drawn:
        if isinstance(drawing, Drawing):
            for trace, texts in zip(
                drawing.figure.data, unpack(pack_figure(drawing.figure)), strict=True
            ):
                if texts is not None:
                    assert texts == list(trace.hovertext)
                    n_packed += len(texts)
    assert n_packed > len(run.rows)


def test_the_same_words_are_kept_once() -> None:
    hovertext = [f"layer1.conv1 {i % 8}, layer2.conv1 {i % 4}" for i in range(1000)]
    packed = pack_figure(go.Figure(go.Scatter(x=[0], y=[0], hovertext=hovertext)))
    assert json.dumps(packed).count("layer1.conv1") == 1
    assert len(packed["texts"]) == 8


def test_a_figure_is_left_as_it_is_and_other_traces_too() -> None:
    figure = go.Figure(go.Scatter(x=[1.5], y=[None], hovertext=["a b"], name="x"))
    figure.add_trace(go.Heatmap(z=[[1]], hovertext=[["a b"]]))
    packed = pack_figure(figure)
    assert figure.data[0].hovertext == ("a b",)
    assert packed["data"][0]["x"] == [1.5]
    assert packed["data"][1]["hovertext"] == [["a b"]]

"use strict";
(() => {
  const plots = [];
  const settings = {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  for (const figure of document.querySelectorAll("figure[data-figure]")) {
    const drawing = JSON.parse(figure.querySelector("script").textContent);
    const plot = figure.querySelector(".plot");
    plot.replaceChildren();
    Plotly.newPlot(plot, drawing.data, drawing.layout, settings);
    plots.push(plot);
  }
  // Paper is narrower than the window: draw at its width, and go back afterwards.
  addEventListener("beforeprint", () => {
    for (const plot of plots) Plotly.relayout(plot, {width: 680});
  });
  addEventListener("afterprint", () => {
    for (const plot of plots) Plotly.relayout(plot, {width: null, autosize: true});
  });
})();

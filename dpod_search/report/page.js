"use strict";
(() => {
  const figures = [...document.querySelectorAll("figure[data-figure]")];
  const drawn = new Map();
  const settings = {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };
  // Hover boxes repeat the same names a thousand times: they come as words and their numbers.
  const unpack = (packed) => {
    const {words, texts} = packed;
    const read = (line) => line.map((i) => words[i]).join("");
    for (const trace of packed.data)
      if (Array.isArray(trace.hovertext) && typeof trace.hovertext[0] === "number")
        trace.hovertext = trace.hovertext.map((i) => read(texts[i]));
    return packed;
  };
  const draw = (figure) => {
    if (drawn.has(figure)) return;
    const drawing = unpack(JSON.parse(figure.querySelector("script").textContent));
    const plot = figure.querySelector(".plot");
    plot.replaceChildren();
    drawn.set(figure, plot);
    Plotly.newPlot(plot, drawing.data, drawing.layout, settings);
    if (drawn.size === 1) document.documentElement.dataset.firstDrawnMs = performance.now().toFixed(0);
  };
  // The first figure comes at once; the others one after the other, so that the page never hangs.
  const drawNext = () => {
    const next = figures.find((figure) => !drawn.has(figure));
    if (next === undefined) return;
    draw(next);
    setTimeout(drawNext, 0);
  };
  // Where the reader scrolls to, or jumps, is drawn before its turn.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
  }, {rootMargin: "400px"});
  drawNext();
  for (const figure of figures) seen.observe(figure);
  // A table or figure that is wider than the window shows at its edges that it goes on.
  const mark = (box) => {
    const hidden = box.scrollWidth - box.clientWidth;
    box.classList.toggle("goes-left", box.scrollLeft > 1);
    box.classList.toggle("goes-right", box.scrollLeft < hidden - 1);
    const goesOn = hidden > 1;
    let hint = box.nextElementSibling;
    if (!hint?.classList.contains("hint")) {
      if (!goesOn) return;
      hint = document.createElement("p");
      hint.className = "hint";
      hint.textContent = "\u2194 Scroll sideways: it is wider than the window.";
      box.after(hint);
    }
    hint.hidden = !goesOn;
    // Who has no pointer scrolls with the arrow keys.
    if (goesOn) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  const sizes = new ResizeObserver((entries) => {
    for (const entry of entries) mark(entry.target.closest(".wide"));
  });
  for (const box of document.querySelectorAll(".wide")) {
    sizes.observe(box);
    if (box.firstElementChild) sizes.observe(box.firstElementChild);
    box.addEventListener("scroll", () => mark(box), {passive: true});
  }
  // Paper is narrower than the window: draw at its width, two figures a page, and go back after.
  const heights = new Map();
  addEventListener("beforeprint", () => {
    figures.forEach(draw);
    for (const plot of drawn.values()) {
      if (!heights.has(plot)) heights.set(plot, plot.layout.height);
      const height = Math.min(heights.get(plot), Math.max(300, 0.65 * heights.get(plot)));
      Plotly.relayout(plot, {width: 680, height});
    }
  });
  addEventListener("afterprint", () => {
    for (const plot of drawn.values())
      Plotly.relayout(plot, {width: null, height: heights.get(plot), autosize: true});
  });
})();

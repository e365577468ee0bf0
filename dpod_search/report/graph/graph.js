"use strict";
(() => {
  const graph = document.getElementById("graph");
  const picture = document.getElementById("picture");
  const said = document.getElementById("said");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const boxes = [...graph.querySelectorAll(".box")];
  const parts = [...boxes, ...graph.querySelectorAll(".wire")];
  const lines = [...document.querySelectorAll("tr[data-key]")];
  const silence = said.textContent;
  const size = [graph.width.baseVal.value, graph.height.baseVal.value];
  const list = (part, name) => part.dataset[name].split(" ");
  let chosen = "";
  let hits = [];
  let at = 0;

  const scrollTo = (box) => box.scrollIntoView({block: "center", inline: "center"});

  const choose = (key) => {
    chosen = key;
    graph.classList.toggle("is-chosen", key !== "");
    for (const part of parts) {
      part.classList.toggle("makes", key !== "" && list(part, "makes").includes(key));
      part.classList.toggle("reads", key !== "" && list(part, "reads").includes(key));
    }
    for (const line of lines) line.classList.toggle("chosen", line.dataset.key === key);
    if (key === "") said.textContent = silence;
  };

  const say = (row) => { said.textContent = row.querySelector("title").textContent; };

  graph.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return choose("");
    const key = [...list(row, "makes"), ...list(row, "reads")].find((name) => name !== "") || "";
    choose(key);
    say(row);
    const line = lines.find((one) => one.dataset.key === key);
    if (line) line.scrollIntoView({block: "nearest"});
  });

  const take = (line) => {
    const key = line.dataset.key;
    if (key === chosen) return choose("");
    choose(key);
    const box = boxes.find((one) => list(one, "makes").includes(key))
      || boxes.find((one) => list(one, "reads").includes(key));
    if (!box) return;
    scrollTo(box);
    const row = [...box.querySelectorAll(".row")].find(
      (one) => [...list(one, "makes"), ...list(one, "reads")].includes(key));
    if (row) say(row);
  };
  for (const line of lines) {
    line.addEventListener("click", () => take(line));
    line.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      take(line);
    });
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") choose(""); });

  const show = () => {
    for (const box of boxes) box.classList.toggle("now", box === hits[at]);
    if (hits.length) scrollTo(hits[at]);
    found.textContent = search.value.trim() === "" ? "" : `${hits.length ? at + 1 : 0} of ${hits.length}`;
  };
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    hits = wanted === "" ? [] : boxes.filter(
      (box) => [...box.querySelectorAll(".row")].some((row) => row.dataset.find.includes(wanted)));
    at = 0;
    graph.classList.toggle("is-searched", wanted !== "");
    for (const box of boxes) box.classList.toggle("hit", hits.includes(box));
    for (const line of lines) {
      line.hidden = wanted !== "" && !line.textContent.toLowerCase().includes(wanted);
    }
    show();
  });
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !hits.length) return;
    at = (at + (event.shiftKey ? hits.length - 1 : 1)) % hits.length;
    show();
  });

  // A link may point at a group or a frozen dimension: #g0, #f0.
  const pointed = lines.find((line) => `#${line.dataset.key}` === location.hash);
  if (pointed) take(pointed);

  let scale = 1;
  const zoom = (to) => {
    scale = Math.min(3, Math.max(0.05, to));
    graph.setAttribute("width", size[0] * scale);
    graph.setAttribute("height", size[1] * scale);
  };
  const zooms = {
    fit: () => Math.min(1, (picture.clientWidth - 4) / size[0]),
    in: () => scale * 1.25,
    out: () => scale / 1.25,
  };
  for (const button of document.querySelectorAll("button[data-zoom]")) {
    button.addEventListener("click", () => zoom(zooms[button.dataset.zoom]()));
  }
})();

"use strict";
for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input");
  input.addEventListener("input", () => slider.style.setProperty("--at", input.value + "%"));
}
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function config() {
  const ink = dark.matches ? "#c9d0d9" : "#3c4654";
  const grid = dark.matches ? "#2c333c" : "#e6e9ee";
  const font = "system-ui, -apple-system, Segoe UI, Roboto, Arial, sans-serif";
  return {
    background: "transparent",
    font,
    view: { stroke: grid },
    axis: { labelColor: ink, titleColor: ink, gridColor: grid, domainColor: grid, tickColor: grid, titleFontWeight: 500 },
    legend: { labelColor: ink, titleColor: ink, labelLimit: 220,
      orient: window.innerWidth < 1000 ? "bottom" : "right",
      columns: window.innerWidth < 1000 ? Math.max(1, Math.floor(window.innerWidth / 250)) : 1 },
    title: { color: ink, fontSize: 13, fontWeight: 600, anchor: "start" },
    range: { category: dark.matches
      ? ["#7fb0ff", "#ffb066", "#6fd6a0", "#ff8fa3", "#c9a6ff", "#e6d36a", "#7fd9e6",
         "#4a78bf", "#b87a45", "#469a70", "#b8606f", "#8d72b8", "#a3953f", "#4f9aa5"]
      : ["#2463c7", "#d9730d", "#1f8a54", "#c2334d", "#7a4cc2", "#8a7a00", "#117f8f",
         "#86abe8", "#efb27b", "#84c9a6", "#e694a2", "#b9a0e6", "#cabd66", "#79c4ce"] },
  };
}
function narrow(spec, width) {
  if (spec.columns) spec.columns = 1;
  if (spec.width) spec.width = width;
  for (const panel of spec.concat || []) narrow(panel, width);
}
async function draw() {
  for (const place of document.querySelectorAll(".chart")) {
    const spec = JSON.parse(document.getElementById(place.dataset.spec).textContent);
    if (place.clientWidth < 700) narrow(spec, Math.min(place.clientWidth - 70, 320));
    await window.vegaEmbed(place, spec, { actions: false, renderer: "svg", config: config() });
  }
}
draw();
dark.addEventListener("change", draw);

// What every page needs: elements, numbers as people say them, and the API. Text is set as text, never
// as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node && name !== "role") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function shape(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

const count = (n) => Math.round(n).toLocaleString("en");
const percent = (x) => `${(100 * x).toFixed(x < 0.1 ? 1 : 0)} %`;

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${n.toFixed(unit ? 1 : 0)} ${units[unit]}`;
}

function duration(seconds) {
  if (seconds < 0) return "unknown";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

async function ask(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function numbers(id, facts) {
  $(id).replaceChildren(...facts.map(([name, value]) =>
    make("div", {}, make("dt", { textContent: name }), make("dd", { textContent: value }))));
}

function bar(share, colour) {
  const inner = make("i");
  inner.style.width = `${Math.min(100, 100 * share)}%`;
  if (colour) inner.style.background = colour;
  return make("div", { className: "bar" }, inner);
}

function row(name, share, text, colour, swatch) {
  const label = make("span");
  if (swatch) {
    const square = make("span", { className: "swatch" });
    square.style.background = swatch;
    label.append(square);
  }
  label.append(name);
  return make("div", { className: "row" }, label, bar(share, colour),
    make("span", { className: "count", textContent: text }));
}

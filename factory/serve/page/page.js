// The dashboard: asks the API, draws what it answers. All text is set as text, never as markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
let pick = { pick: "latest" };
let shown = 0;

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

function histogram(counts, className, title) {
  const most = Math.max(1, ...counts);
  const svg = shape("svg", {
    viewBox: `0 0 ${counts.length || 1} 1`, preserveAspectRatio: "none", class: className,
    role: "img", "aria-label": title,
  });
  counts.forEach((n, i) => {
    const high = n ? Math.max(0.02, n / most) : 0;
    svg.append(shape("rect", { x: i + 0.06, y: 1 - high, width: 0.88, height: high }));
  });
  return svg;
}

function drawSummary(s) {
  $("name").textContent = s.name;
  document.title = `${s.name} · maskfactory`;
  $("state").textContent = s.state;
  $("state").className = `badge ${s.state}`;
  const share = s.samples_planned ? s.samples_committed / s.samples_planned : 0;
  const progress = $("progress");
  progress.firstElementChild.style.width = `${Math.min(100, 100 * share)}%`;
  progress.setAttribute("aria-valuenow", Math.round(100 * share));
  const rejected = Object.values(s.images_rejected).reduce((a, b) => a + b, 0);
  const reasons = Object.entries(s.images_rejected).map(([why, n]) => `${why} ${count(n)}`);
  const makers = Object.entries(s.makers).map(([who, n]) => `${count(n)} shards by ${who}`);
  numbers("numbers", [
    ["pairs", `${count(s.samples_committed)} of ${count(s.samples_planned)}`],
    ["rate", s.pairs_per_s ? `${s.pairs_per_s.toFixed(1)} pairs/s` : "idle"],
    ["time left", duration(s.eta_s)],
    ["size", bytes(s.bytes)],
    ["rounds", count(s.rounds)],
    ["not kept", rejected ? `${count(rejected)} (${reasons.join(", ")})` : "0"],
    ["last commit", s.last_commit.replace("T", " ").replace("+00:00", " UTC")],
    ...(makers.length > 1 ? [["makers", `${makers.length}: ${makers.join("; ")}`]] : []),
  ]);
  $("map-legend").replaceChildren(...Object.entries(s.shards).map(([state, n]) =>
    make("span", {}, make("span", { className: `swatch ${state}` }), `${state} ${count(n)}`)));
  $("origin").textContent = [s.attribution, s.license, `dataset ${s.dataset_id}`, s.uri]
    .filter(Boolean).join(" · ");
}

function drawCoverage(c) {
  $("targets-section").hidden = !c.targets.length;
  $("targets").replaceChildren(...c.targets.map((t) => {
    const colour = { met: "var(--good)", open: "var(--warn)" }[t.state] || "var(--bad)";
    const line = row(t.name, t.have / t.wanted, `${count(t.have)} / ${count(t.wanted)} ${t.state}`, colour);
    if (t.why) line.append(make("span", { className: "why", textContent: t.why }));
    return line;
  }));
  if (c.targets.length) $("targets").append(make("p", {
    className: "legend", textContent: `budget: ${count(c.budget_left)} of ${count(c.budget)} images left`,
  }));
  const most = Math.max(1e-9, ...c.mask_classes.map((k) => k.share));
  $("classes").replaceChildren(...c.mask_classes.map((k) => {
    const line = row(k.name, k.share / most, `${percent(k.share)} of pixels, in ${count(k.images)}`,
      k.colour, k.colour);
    line.append(histogram(k.area, "spark", `${k.name}: samples by share of the mask, from 0 to 100 %`));
    return line;
  }));
  $("generator-section").hidden = !c.generator_classes.length;
  const largest = Math.max(1, ...c.generator_classes.map((k) => k.kept));
  $("generator").replaceChildren(...c.generator_classes.slice(0, 100).map((k) =>
    row(k.name, k.kept / largest, k.made > k.kept ? `${count(k.kept)} of ${count(k.made)}` : count(k.kept))));
  const words = {
    confidence: "mean mask confidence", agreement: "agreement with other methods", sharpness: "sharpness (variance of the Laplacian)",
    border: "class border (share of pixel pairs)",
  };
  $("quality").replaceChildren(...c.curves.map((curve) => {
    const from = Math.max(0, curve.counts.findIndex((n) => n > 0) - 1);
    const [low, , middle, , high] = curve.quantiles.map((q) => q < 10 ? q.toFixed(2) : count(q));
    return make("figure", {}, histogram(curve.counts.slice(from), "", words[curve.name]),
      make("figcaption", { textContent: `${words[curve.name]}: ${low} – ${middle} – ${high}` }));
  }));
  numbers("latent", [
    ["latent cells visited", `${c.latent.cells_visited} of 256`],
    ["evenness of latents", c.latent.cell_evenness.toFixed(3)],
    ["evenness of classes", c.generator_classes.length ? c.latent.class_evenness.toFixed(3) : "no classes"],
    ["same perceptual hash", percent(c.latent.duplicate_rate)],
    ["close pairs", `${(100 * c.latent.close_pair_rate).toFixed(2)} %`],
  ]);
  drawPicks(c.mask_classes);
}

function drawRounds(answer) {
  $("map").replaceChildren(...answer.rounds.flatMap((round) => {
    const first = round.runs[0].first_shard;
    const total = round.runs[round.runs.length - 1].end_shard - first;
    const svg = shape("svg", { viewBox: `0 0 ${total} 1`, preserveAspectRatio: "none", height: 16, role: "img",
      "aria-label": `round ${round.round_index}: ${round.runs.length} runs of shards` });
    for (const run of round.runs) {
      const cell = shape("rect", { x: run.first_shard - first, y: 0,
        width: run.end_shard - run.first_shard, height: 1, class: run.state });
      const title = shape("title", {});
      title.textContent = `shards ${run.first_shard} to ${run.end_shard - 1}, ` +
        `samples ${run.first_index} to ${run.end_index - 1}: ${run.state}`;
      cell.append(title);
      svg.append(cell);
    }
    const goal = round.goal ? ` for ${round.goal}` : "";
    return [make("div", { className: "title",
      textContent: `round ${round.round_index}: ${count(round.num_samples)} pairs${goal}` }), svg];
  }));
}

function drawPicks(classes) {
  const options = [["latest", { pick: "latest" }], ["least confident", { pick: "least_confident" }],
    ...classes.map((k) => [`most ${k.name}`, { pick: "class", mask_class: k.id }])];
  const texts = options.map(([text]) => text).join();
  if ($("picks").dataset.texts !== texts) {  // buttons that stay keep the keyboard's focus
    $("picks").dataset.texts = texts;
    $("picks").replaceChildren(...options.map(([text, choice]) => make("button", {
      type: "button", textContent: text,
      onclick: () => { pick = choice; drawPicks(classes); drawGallery(); },
    })));
  }
  options.forEach(([, choice], i) => $("picks").children[i].setAttribute("aria-pressed",
    String(JSON.stringify(choice) === JSON.stringify(pick))));
}

async function drawGallery() {
  const answer = await ask(`v1/gallery?${new URLSearchParams(pick)}`);
  const keys = answer.tiles.map((tile) => tile.key).join();
  if ($("gallery").dataset.keys === keys) return;
  $("gallery").dataset.keys = keys;
  $("gallery").replaceChildren(...answer.tiles.map((tile) => make("a", { href: `#sample/${tile.key}` },
    make("img", { src: `v1/samples/${tile.key}/tile.png`, loading: "lazy", width: 316, height: 158,
      alt: `sample ${tile.key}: image, and its mask over it` }),
    `${tile.key} ${tile.class_name} ${tile.confidence.toFixed(2)}`)));
}

async function drawSample(key) {
  const facts = await ask(`v1/samples/${encodeURIComponent(key)}`);
  const pictures = ["image", "overlay", "mask"].map((what) => make("figure", {},
    make("img", { src: `v1/samples/${facts.key}/${what}.png`, alt: `${what} of sample ${facts.key}` }),
    make("figcaption", { textContent: what })));
  const total = facts.width * facts.height;
  const px = Object.entries(facts.class_px).map(([name, n]) => `${name} ${percent(n / total)}`).join(", ");
  const rows = Object.entries({ ...facts, class_px: px }).filter(([name]) => name !== "replay");
  const copy = make("button", { type: "button", textContent: "copy" });
  copy.onclick = async () => { await navigator.clipboard.writeText(facts.replay); copy.textContent = "copied"; };
  $("sample").replaceChildren(
    make("p", {}, make("a", { href: "#", textContent: "← overview" })),
    make("section", {}, make("h2", { textContent: `Sample ${facts.key}` }),
      make("div", { className: "pictures" }, ...pictures)),
    make("section", {}, make("h2", { textContent: "Replay this sample" }),
      make("pre", { id: "replay", textContent: facts.replay }), copy),
    make("section", {}, make("h2", { textContent: "Facts" }), make("table", {}, make("tbody", {},
      ...rows.map(([name, value]) => make("tr", {},
        make("th", { scope: "row", textContent: name.replaceAll("_", " ") }),
        make("td", { textContent: value === "" ? "–" : String(value) })))))));
}

async function refresh() {
  const [coverage, rounds] = await Promise.all([ask("v1/coverage"), ask("v1/rounds")]);
  drawCoverage(coverage);
  drawRounds(rounds);
  await drawGallery();
}

// What the page could not show, and whether the service is there at all: the latter is said first.
let problem = "";
let isAway = false;

function trouble(error) {
  problem = error ? `${error.message || error}` : "";
  say();
}

function away(yes) {
  isAway = yes;
  say();
}

function say() {
  const text = isAway ? "the service does not answer; trying again" : problem;
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

async function route() {
  const key = location.hash.startsWith("#sample/") ? location.hash.slice(8) : "";
  $("overview").hidden = Boolean(key);
  $("sample").hidden = !key;
  try {
    if (key) await drawSample(key); else await refresh();
    trouble("");
  } catch (error) { trouble(error); }
  if (key) scrollTo(0, 0);
}

// A host that hangs or is cut off closes nothing, so the browser would wait for it for ever. The
// service says something every 5 s.
const SILENCE_MS = 12000;

function listen() {
  const events = new EventSource("v1/events");
  let silence;
  const lost = (wait) => {
    away(true);
    shown = 0;
    clearTimeout(silence);
    events.close();
    setTimeout(listen, wait);
  };
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(lost, SILENCE_MS, 0);
  };
  events.addEventListener("alive", heard);
  events.addEventListener("summary", async (event) => {
    heard();
    const summary = JSON.parse(event.data);
    drawSummary(summary);
    away(false);
    if (summary.version !== shown && !$("overview").hidden) {
      shown = summary.version;
      try { await refresh(); trouble(""); } catch (error) { trouble(error); }
    }
  });
  events.onerror = () => lost(3000);
  heard();
}

addEventListener("hashchange", route);
ask("v1/summary").then(drawSummary).catch(trouble);
route();
listen();

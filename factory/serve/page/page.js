// The dashboard: asks the API, draws what it answers. All text is set as text, never as markup.
"use strict";

let shown = 0;
let paceOf = "latest_run";

function showPaceOf(of) {
  paceOf = of;
  for (const button of $("pace-of").children) {
    button.setAttribute("aria-pressed", String(button.value === of));
  }
}

function drawSummary(s) {
  $("name").textContent = s.name;
  if (datasetId !== s.dataset_id) {
    datasetId = s.dataset_id;
    drawBad();
    if (currentKey && $("sample-bad")) showMark(currentKey);
  }
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
  const highest = Math.max(1, ...c.mask_classes.flatMap((k) => k.area));
  $("classes").replaceChildren(...c.mask_classes.map((k) => {
    const line = row(k.name, k.share, `${percent(k.share)} of pixels, in ${count(k.images)}`,
      k.colour, k.colour);
    line.append(histogram(k.area, "spark", `${k.name}: samples by share of the mask, from 0 to 100 %`, highest));
    return line;
  }));
  $("classes-note").textContent = "Bars: share of all pixels, from 0 to 100 %. Below each: samples by the class's " +
    `share of their mask, steps at ${c.area_edges.map((edge) => +(100 * edge).toPrecision(3)).join(", ")} %; ` +
    `the highest step is ${count(highest)} samples, for all classes.`;
  $("generator-section").hidden = !c.generator_classes.length;
  const largest = Math.max(1, ...c.generator_classes.map((k) => k.kept));
  $("generator-note").textContent = `Bars: samples kept, from 0 to ${count(largest)}.` +
    (c.generator_classes.length > 100 ? ` The first 100 of ${count(c.generator_classes.length)} classes.` : "");
  $("generator").replaceChildren(...c.generator_classes.slice(0, 100).map((k) =>
    row(k.name, k.kept / largest, k.made > k.kept ? `${count(k.kept)} of ${count(k.made)}` : count(k.kept))));
  const words = {
    confidence: ["Mask confidence", "mean over a mask's pixels"],
    agreement: ["Agreement with other methods", "agreement of masks, 0 to 1"],
    sharpness: ["Sharpness", "variance of the Laplacian"],
    border: ["Class border", "share of neighbouring pixels of two classes"],
  };
  $("quality").replaceChildren(...c.curves.map((curve) => {
    const [title, x] = words[curve.name];
    const from = Math.max(0, curve.counts.findIndex((n) => n > 0) - 1);
    const counts = curve.counts.slice(from);
    const end = curve.edges.length > 1 ? 2 * curve.edges.at(-1) - curve.edges.at(-2) : 1;
    const xs = [curve.edges[from], curve.edges[from + Math.floor(counts.length / 2)], end];
    const [low, , middle, , high] = curve.quantiles.map((q) => q < 10 ? q.toFixed(2) : count(q));
    const svg = histogram(counts, "", title);
    return chart(svg, { title, top: `0 to ${short(Math.max(0, ...counts))} samples`, xs: xs.map(short), x,
      note: `half of all samples are below ${middle}, 90 % from ${low} to ${high}` });
  }));
  numbers("latent", [
    ["latent cells visited", `${c.latent.cells_visited} of 256`],
    ["evenness of latents", c.latent.cell_evenness.toFixed(3)],
    ["evenness of classes", c.generator_classes.length ? c.latent.class_evenness.toFixed(3) : "no classes"],
    ["same perceptual hash", percent(c.latent.duplicate_rate)],
    ["close pairs", `${(100 * c.latent.close_pair_rate).toFixed(2)} %`],
  ]);
  drawPicks(c.mask_classes, c.generator_classes);
}

function drawFailures(answer) {
  $("failures-section").hidden = !answer.total;
  const left = answer.total > answer.failures.length ? ` of ${count(answer.total)}` : "";
  $("failures-note").textContent = `${count(answer.failures.length)}${left} failed attempts and shards in quarantine. ` +
    "factory quarantine retry DATASET releases those in quarantine.";
  $("failures").replaceChildren(...answer.failures.map((one) => make("tr", {},
    make("td", { textContent: `shard ${one.shard_index}` }),
    make("td", { textContent: one.is_quarantine ? "quarantine" : `attempt ${one.attempt || "?"}` }),
    make("td", { textContent: one.reason }),
    make("td", { textContent: `${one.failed_at.replace("T", " ").replace("+00:00", " UTC")} (now ${one.state})` }))));
}

function drawJob(job) {
  $("job-section").hidden = !job.text;
  $("job").textContent = job.is_cut ? `${job.text}\n… cut: the file is longer` : job.text;
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

async function refresh() {
  const [coverage, rounds, pace, failures, job] = await Promise.all(["v1/coverage", "v1/rounds",
    `v1/pace?of=${paceOf}`, "v1/failures", "v1/job"].map(ask));
  drawCoverage(coverage);
  drawRounds(rounds);
  drawPace(pace);
  drawFailures(failures);
  drawJob(job);
  if (!isBrowsing() || !$("gallery").childElementCount) await drawGallery();
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
    if (key) await drawSample(key);
    else { currentKey = ""; await refresh(); }
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
startGallery();
$("all").hidden = !/\/d\/[^/]+\/$/.test(location.pathname);  // one of many in a folder
showPaceOf(paceOf);
for (const button of $("pace-of").children) {
  button.onclick = async () => {
    showPaceOf(button.value);
    try { drawPace(await ask(`v1/pace?of=${paceOf}`)); } catch (error) { trouble(error); }
  };
}
ask("v1/summary").then(drawSummary).catch(trouble);
route();
listen();

// Charts with axes: bars by value or by time, drawn as SVG that stretches with the page.
"use strict";

// The smallest of 1, 2, 5, 10, 20, ... that is not below `most`: where an axis ends.
function axisEnd(most) {
  if (!(most > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((end) => end >= most * (1 - 1e-9));
}

function short(x) {
  if (x >= 1e6) return `${+(x / 1e6).toPrecision(3)} M`;
  if (x >= 1e4) return `${+(x / 1e3).toPrecision(3)} k`;
  return String(+x.toPrecision(3));
}

// Bars of `counts`, of which the highest may be `most`; without axes.
function histogram(counts, className, title, most = Math.max(1, ...counts)) {
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

// A chart: what stands above it, the bars, what the axes say. `xs` are texts from left to right.
function chart(svg, { title, top, xs, x, note }) {
  const frame = make("div", { className: "plot" },
    make("span", { className: "top", textContent: top }), svg);
  const axis = make("div", { className: "xs" }, ...xs.map((text) => make("span", { textContent: text })));
  return make("figure", {}, make("figcaption", { className: "title", textContent: title }), frame, axis,
    make("figcaption", { textContent: note ? `${x}; ${note}` : x }));
}

// Bars over time. `series` are [class name, values by interval], stacked.
function overTime(intervals, from, to, series, title) {
  const span = Math.max(1, to - from);
  const totals = intervals.map((_, i) => series.reduce((sum, [, values]) => sum + values[i], 0));
  const end = axisEnd(Math.max(0, ...totals));
  const svg = shape("svg", { viewBox: "0 0 1000 100", preserveAspectRatio: "none", role: "img", "aria-label": title });
  intervals.forEach((one, i) => {
    const x = 1000 * (one.from - from) / span;
    const width = Math.max(1.5, 1000 * one.seconds / span - 0.5);
    let base = 100;
    for (const [className, values] of series) {
      const high = 100 * values[i] / end;
      svg.append(shape("rect", { x, y: base - high, width, height: high, class: className }));
      base -= high;
    }
  });
  return [svg, end];
}

function clock(seconds, withDay) {
  const text = new Date(1000 * seconds).toISOString();
  return withDay ? text.slice(0, 16).replace("T", " ") : text.slice(11, 19);
}

function drawPace(pace) {
  const never = !pace.intervals.length;
  $("pace-none").hidden = !never;
  $("pace").hidden = never;
  const from = Date.parse(pace.started_at) / 1000;
  const to = Math.max(from + 1, Date.parse(pace.ended_at) / 1000);
  const intervals = pace.intervals.map((one) => ({ ...one, from: Date.parse(one.starts_at) / 1000 }));
  const withDay = pace.started_at.slice(0, 10) !== pace.ended_at.slice(0, 10);
  const xs = never ? [] : [from, (from + to) / 2, to].map((s) => clock(s, withDay));
  const x = `time (UTC), a bar for each ${duration(pace.interval_s)}`;
  const draw = (title, series, unit, note) => {
    const [svg, end] = overTime(intervals, from, to, series, title);
    return chart(svg, { title, top: `0 to ${short(end)} ${unit}`, xs, x, note });
  };
  const share = (one) => one.rejected / Math.max(1e-9, one.rejected + one.samples);
  const per = (seconds, one) => one.samples > 0 ? seconds / one.samples : 0;
  $("pace").replaceChildren(
    draw("Rate: committed pairs per second", [["", intervals.map((one) => one.samples / one.seconds)]], "pairs/s"),
    draw("Not kept: share of generated images", [["refused", intervals.map((one) => 100 * share(one))]], "%"),
    draw("Worker time for a pair", [
      ["", intervals.map((one) => per(one.generate_s, one))],
      ["rest", intervals.map((one) => per(Math.max(0, one.worker_s - one.generate_s), one))],
    ], "s", "below: generator and segmenter, above: packing and writing"));
  const fastest = axisEnd(Math.max(0, ...pace.workers.map((one) => one.pairs_per_s)));
  $("workers").replaceChildren(...pace.workers.map((one) => row(one.worker, one.pairs_per_s / fastest,
    `${one.pairs_per_s.toFixed(1)} pairs/s, ${count(one.samples)} pairs in ${count(one.shards)} shards on ${one.device}`)));
  $("workers-note").textContent = never ? "" :
    `Bars: pairs per second of each worker's own time, from 0 to ${short(fastest)}.`;
}

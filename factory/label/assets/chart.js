// How good each number of classes is: the worst cluster IoU, and the likeness of the next merge.

import { make } from "label/dendrogram";

const [WIDTH, HEIGHT, EDGE] = [400, 64, 4];

export function drawChart(svg, facts, numClasses, onChoose) {
  const { cuts } = facts;
  const most = cuts.at(-1).k;
  const x = (k) => EDGE + ((k - 2) / Math.max(1, most - 2)) * (WIDTH - 2 * EDGE);
  const y = (value) => HEIGHT - EDGE - value * (HEIGHT - 2 * EDGE);
  const known = cuts.filter(({ iou }) => iou !== null);
  const points = (name) => known.map((cut) => `${x(cut.k)},${y(cut[name])}`).join(" ");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.replaceChildren(
    make("line", { x1: x(facts.suggested), x2: x(facts.suggested), y1: 0, y2: HEIGHT, class: "suggested" }),
    make("line", { x1: x(numClasses), x2: x(numClasses), y1: 0, y2: HEIGHT, class: "current" }),
    make("polyline", { points: points("iou"), class: "iou" }),
    make("polyline", { points: points("ecos"), class: "ecos" }),
  );
  svg.onclick = (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width) * WIDTH - EDGE;
    onChoose(Math.round(2 + (share / (WIDTH - 2 * EDGE)) * (most - 2)));
  };
}

export function describeCut(facts, numClasses) {
  const cut = facts.cuts[numClasses - 2];
  const star = numClasses === facts.suggested ? "★ suggested · " : "";
  if (cut.iou === null) return `${star}nothing is left to merge`;
  return `${star}worst cluster IoU ${cut.iou.toFixed(3)} · likeness ${cut.ecos.toFixed(3)}`;
}

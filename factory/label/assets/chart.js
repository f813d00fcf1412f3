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
  document.getElementById("axes").textContent = `across: 2 to ${most} classes; up: 0 to 1`;
  svg.onclick = (event) => {
    const box = svg.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width) * WIDTH - EDGE;
    onChoose(Math.round(2 + (share / (WIDTH - 2 * EDGE)) * (most - 2)));
  };
}

export function describeCut(facts, numClasses) {
  const { iou, ecos, agreement, doubts } = facts.cuts[numClasses - 2];
  const known = [
    numClasses === facts.suggested ? "★ suggested" : null,
    iou === null
      ? "nothing is left to merge"
      : `worst cluster IoU ${iou.toFixed(3)} · likeness ${ecos.toFixed(3)}`,
    agreement === null ? null : `agreement with other images ${agreement.toFixed(2)}`,
    ...doubts.map((doubt) => `⚠ ${doubt}`),
  ];
  return known.filter((part) => part !== null).join(" · ");
}

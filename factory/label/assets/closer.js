// A closer look at one class: enlarged pictures, its parts, what would change, where it lies.

import { paintTiles, paintPlace, PART_COLOURS } from "label/enlarged";
import { get } from "label/editor";
import { bytesOf } from "label/source";

const percent = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
const LARGE = 128; // pictures above this side begin at twofold enlargement, to fit a screen

export class Closer {
  constructor(source, tree, onSplit) {
    Object.assign(this, { source, tree, onSplit, dialog: get("closer"), trail: [] });
    const side = source.facts.closer?.side ?? Math.min(256, source.facts.side);
    get("zoom").value = side > LARGE ? 2 : 4;
    get("zoom").addEventListener("change", () => this.paint());
    get("closer-up").addEventListener("click", () => this.up());
    get("closer-split").addEventListener("click", () => this.split());
    get("closer-previous").addEventListener("click", () => this.step(-1));
    get("closer-next").addEventListener("click", () => this.step(1));
    get("closer-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => this.key(event));
  }

  // `classes` are {nodes, name, colour}; together they hold every leaf once.
  open(classes, at) {
    this.trail = [];
    this.look(classes, at);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.focus();
  }

  async look(classes, at) {
    Object.assign(this, { classes, at, samples: [] });
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.showHead();
    for (const id of ["closer-facts", "closer-warnings", "closer-parts", "closer-pictures"]) get(id).replaceChildren();
    get("closer-place").hidden = true;
    this.dialog.dataset.state = "waiting";
    try {
      const figures = await this.source.classes(classes.map(({ nodes }) => nodes));
      if (turn !== this.turn) return;
      this.showFigures(figures);
      await this.showSamples(figures.classes[at], turn);
      if (turn === this.turn) this.dialog.dataset.state = "shown";
    } catch (error) {
      if (turn === this.turn) get("closer-facts").textContent = error.message;
    }
  }

  showHead() {
    const { name, nodes, colour } = this.classes[this.at];
    get("closer-name").textContent = name;
    get("closer-colour").style.background = colour;
    get("closer-node").textContent = `node ${nodes.join(", ")}`;
    get("closer-up").disabled = !this.trail.length;
    get("closer-split").disabled = !this.onSplit || this.trail.length > 0 || this.partNodes().length < 2;
    get("closer-pictures").dataset.nodes = nodes.join();
  }

  partNodes() {
    const { nodes } = this.classes[this.at];
    return nodes.length > 1 ? nodes : this.tree.nodes[nodes[0]].children ?? [];
  }

  showFigures({ classes, num_samples: count, num_wanted: wanted, grid }) {
    const found = classes[this.at];
    const again = found.stability?.map((share, at) => [share, this.classes[this.at].nodes[at]]);
    const words = [
      `${percent(found.share)} of the pixels`,
      `in ${percent(found.images)} of ${count} pictures`,
      again && `found again in other images: ${again.map(([share]) => share.toFixed(2)).join(", ")}`,
      count < wanted && `${wanted - count} pictures are still being drawn; look again for more`,
    ];
    get("closer-facts").textContent = words.filter(Boolean).join(" · ");
    get("closer-warnings").replaceChildren(
      ...warningsOf(found, this.classes).map((text) => element("li", `⚠ ${text}`)),
    );
    get("closer-place").hidden = false;
    get("closer-scale").textContent = paintPlace(get("closer-map"), bytesOf(found.place), grid);
    this.showParts(found);
  }

  showParts(found) {
    const rows = this.partNodes().map((node, at) => {
      const row = document.createElement("li");
      const button = element("button", `${at + 1}: node ${node}`);
      button.disabled = Boolean(this.source.isKept); // a report holds whole cuts, and none with a part apart
      button.addEventListener("click", () => this.deeper(node));
      const swatch = element("span", "", "swatch");
      swatch.style.background = PART_COLOURS[at % PART_COLOURS.length];
      const inside = found.parts.filter((part) => part.node === node || part.under === node);
      const share = inside.reduce((sum, part) => sum + part.share, 0);
      const told = inside.map((part) => {
        const text = `${part.node === node ? "" : `${part.node}: `}if it were not split off, ` +
          `${percent(part.own)} stays, ${percent(part.to_other)} goes to ${this.classes[part.other].name}`;
        return element("span", text, part.is_foreign ? "going problem" : "going");
      });
      row.append(swatch, button, element("span", `${percent(share)} of it`), ...told);
      return row;
    });
    get("closer-parts").replaceChildren(...rows);
  }

  async showSamples(found, turn) {
    const groups = [["most typical", found.typical], ["most doubtful", found.doubtful]];
    for (const [title, indices] of groups) {
      if (!indices.length) continue;
      get("closer-pictures").append(element("h3", `${title} pictures`));
      for (const index of indices) {
        const sample = await this.source.closer(this.classes.map(({ nodes }) => nodes), this.at, index);
        if (turn !== this.turn) return;
        await this.addSample(sample, index);
      }
    }
    if (!found.typical.length) get("closer-pictures").append(element("p", "It is in none of the pictures."));
  }

  async addSample({ image, side, inside, parts }, index) {
    const picture = new Image();
    picture.src = image;
    await picture.decode();
    const row = element("div", "", "enlarged");
    row.dataset.index = index;
    get("closer-pictures").append(row);
    const sample = { picture, side, row, index, inside, parts };
    this.samples.push(sample);
    this.paintOne(sample);
  }

  paint() {
    for (const sample of this.samples) this.paintOne(sample);
  }

  paintOne(sample) {
    paintTiles(sample, { zoom: Number(get("zoom").value), nodes: this.partNodes() });
  }

  // Look at one part as a class of its own; what is left of its class stays together.
  deeper(node) {
    const { nodes, name, colour } = this.classes[this.at];
    const rest = this.partNodes().filter((part) => part !== node);
    if (this.source.isKept || !this.partNodes().includes(node)) return;
    this.trail.push([this.classes, this.at]);
    this.look(splitOff(this.classes, this.at, node, rest, { name: `part ${node} of ${name}`, colour }), this.at);
    this.dialog.focus();
  }

  up() {
    const back = this.trail.pop();
    if (back) this.look(...back);
  }

  step(by) {
    const [classes, at] = this.trail[0] ?? [this.classes, this.at];
    this.trail = [];
    this.look(classes, (at + by + classes.length) % classes.length);
  }

  split() {
    if (get("closer-split").disabled) return;
    this.dialog.close();
    this.onSplit(this.at);
  }

  zoom(by) {
    const { options, selectedIndex } = get("zoom");
    get("zoom").selectedIndex = Math.min(options.length - 1, Math.max(0, selectedIndex + by));
    this.paint();
  }

  key(event) {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = {
      ArrowUp: () => this.step(-1),
      ArrowDown: () => this.step(1),
      ArrowLeft: () => this.up(),
      s: () => this.split(),
      "+": () => this.zoom(1),
      "-": () => this.zoom(-1),
      ...this.moreKeys,
    };
    const node = this.partNodes()[Number(event.key) - 1];
    const act = keys[event.key] ?? (node !== undefined && (() => this.deeper(node)));
    if (!act) return;
    event.preventDefault();
    act();
  }
}

// The classes with `node` in place of class `at`, and `rest`, if any, as a class at the end.
export function splitOff(classes, at, node, rest, { name, colour }) {
  const found = [...classes];
  found[at] = { nodes: [node], name, colour };
  if (rest.length) found.push({ nodes: rest, name: `the rest of ${classes[at].name}`, colour });
  return found;
}

export function warningsOf({ doubts, parts }, classes) {
  const foreign = parts.filter((part) => part.is_foreign);
  return [
    ...doubts,
    ...foreign.map(({ node, under, other, own, to_other: there }) =>
      `mixes: ${node === under ? `node ${node}` : `${node}, a part of node ${under},`} is nearer to ` +
      `${classes[other].name}, where ${percent(there)} of its pixels would go if it were not split off; ` +
      `${percent(own)} would stay. Look at it, and split it off if it is something else.`),
  ];
}

function element(name, text, className = "") {
  return Object.assign(document.createElement(name), { textContent: text, className });
}

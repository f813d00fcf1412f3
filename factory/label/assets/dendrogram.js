// The merge tree as a drawing: classes coloured from the cut down, everything above it plain.

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 240;
const ROOT = 1.4; // where the scale begins: all pixels are one class above it
const TOP = 8;
const LEFT = 30;
const STRIP = 16;

export class Dendrogram {
  constructor(svg, tree, facts, on) {
    Object.assign(this, { svg, tree, facts, on });
    new ResizeObserver(() => this.last && this.show(this.last)).observe(svg);
  }

  // Finer cuts lie lower; the scale is that of ratios, because the first splits matter most.
  y(numClasses) {
    const depth = Math.log(numClasses / ROOT) / Math.log((this.tree.numLeaves + 1) / ROOT);
    return TOP + depth * (HEIGHT - TOP - STRIP - 6);
  }

  x(share) {
    return LEFT + share * (this.width - LEFT - 4);
  }

  show(view) {
    this.last = view;
    this.width = Math.max(280, this.svg.clientWidth);
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    const focused = this.svg.contains(document.activeElement);
    this.svg.replaceChildren(...this.scale(view), this.above(view), ...this.branches(view));
    if (focused) this.svg.querySelector('[tabindex="0"]')?.focus();
  }

  scale({ state }) {
    const flat = this.tree.isFlat(state.cut) ? state.cut.length : null;
    const marks = new Set([2, 3, 5, 10, 20, 50, 100, 200].filter((k) => k <= this.tree.numLeaves));
    marks.add(this.facts.suggested);
    const texts = [...marks].map((k) => {
      const isSuggested = k === this.facts.suggested;
      const text = make("text", { x: LEFT - 8, y: this.y(k) + 4, class: "tick" });
      text.textContent = isSuggested ? `★${k}` : k;
      if (isSuggested) text.classList.add("suggested");
      return text;
    });
    const line = flat && make("line", { x1: LEFT, x2: this.width, y1: this.y(flat), y2: this.y(flat), class: "cut" });
    return line ? [...texts, line] : texts;
  }

  above({ state }) {
    const inside = new Set(state.cut.flatMap((node) => this.below(node)));
    const rest = this.tree.nodes.filter(({ id }) => !inside.has(id));
    const path = rest.map(({ id }) => this.fork(id)).join("");
    const roots = this.tree.flatCut(2).map((id) => this.x(this.tree.nodes[id].x));
    const stems = state.cut.concat(rest.map(({ id }) => id)).map((id) => this.stem(id)).join("");
    return make("path", { d: `M${roots[0]} ${this.y(1.5)}H${roots[1]}${stems}${path}`, class: "plain" });
  }

  branches({ state, classes, chosen, highlighted }) {
    const byNode = new Map(classes.flatMap((one) => one.nodes.map((node) => [node, one])));
    const nodes = [...state.cut].sort((a, b) => this.tree.nodes[a].x - this.tree.nodes[b].x);
    const current = nodes.find((node) => byNode.get(node).key === chosen) ?? nodes[0];
    return nodes.map((node) => {
      const found = byNode.get(node);
      const group = make("g", {
        class: "branch",
        tabindex: node === current ? 0 : -1,
        role: "option",
        "aria-selected": found.key === chosen,
        "aria-label": `${found.name}, ${this.tree.leaves[node].length} clusters`,
        "data-key": found.key,
      });
      group.classList.toggle("dim", highlighted !== null && highlighted !== found.key);
      group.classList.toggle("chosen", found.key === chosen);
      group.append(...this.parts(node, found, state));
      this.listen(group, found.key, node, nodes);
      return group;
    });
  }

  parts(node, { colour, name }, { cut }) {
    const xs = this.tree.leaves[node].map((leaf) => this.tree.nodes[leaf].x);
    const half = 0.5 / this.tree.numLeaves;
    const [left, right] = [this.x(Math.min(...xs) - half), this.x(Math.max(...xs) + half)];
    const [low, high] = [this.bottom(node), this.y(this.tree.parentBorn(node) + 0.5)];
    const y = Math.min(low, Math.max(high, this.y(cut.length)));
    const x = this.x(this.tree.nodes[node].x);
    const room = (this.width - LEFT) / cut.length / 2;
    const title = make("title", {});
    title.textContent = name;
    const lines = this.below(node).map((id) => this.fork(id) + (id === node ? "" : this.stem(id)));
    const wide = { x: left + 0.5, width: Math.max(1, right - left - 1) };
    return [
      title,
      make("rect", { ...wide, y: high, height: HEIGHT - high, class: "reach" }),
      make("path", { d: `M${x} ${y}V${low}${lines.join("")}`, stroke: colour, class: "lines" }),
      make("rect", { ...wide, y: HEIGHT - STRIP, height: STRIP, fill: colour }),
      make("circle", { cx: x, cy: y, r: Math.max(2, Math.min(6, room)), fill: colour }),
    ];
  }

  listen(group, key, node, nodes) {
    group.addEventListener("pointerenter", () => this.on.hover(key));
    group.addEventListener("pointerleave", () => this.on.hover(null));
    group.addEventListener("click", () => this.on.choose(key));
    group.addEventListener("dblclick", () => this.on.split(key));
    group.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const next = nodes[nodes.indexOf(node) + step];
      if (step && next !== undefined) this.on.choose(this.keyAt(next));
      else if (event.key === "ArrowDown") this.on.split(key);
      else if (event.key === "ArrowUp") this.on.close(key);
      else if (event.key === "Enter") this.on.name(key);
      else if (event.key === " ") this.on.mark(key);
      else return;
      event.preventDefault();
    });
  }

  keyAt(node) {
    return this.last.classes.find(({ nodes }) => nodes.includes(node)).key;
  }

  below(node) {
    return [node, ...(this.tree.nodes[node].children ?? []).flatMap((child) => this.below(child))];
  }

  bottom(node) {
    return this.y(this.tree.nodes[node].born + 0.5);
  }

  fork(node) {
    const ends = (this.tree.nodes[node].children ?? []).map((id) => this.x(this.tree.nodes[id].x));
    return ends.length ? `M${ends[0]} ${this.bottom(node)}H${ends[1]}` : "";
  }

  stem(node) {
    const top = this.y(this.tree.parentBorn(node) + 0.5);
    return `M${this.x(this.tree.nodes[node].x)} ${top}V${this.bottom(node)}`;
  }
}

export function make(name, attributes) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

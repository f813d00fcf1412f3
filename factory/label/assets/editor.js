// The editor: one state, the views that show it, and the operations that change it.

import { drawChart, describeCut } from "label/chart";
import { Closer } from "label/closer";
import { Dendrogram } from "label/dendrogram";
import { Figures } from "label/figures";
import { History } from "label/history";
import { ClassList } from "label/list";
import * as naming from "label/naming";
import { Pictures, shares } from "label/pictures";
import { Tree } from "label/tree";

export const get = (id) => document.getElementById(id);

export class Editor {
  constructor(source, labels) {
    const { facts } = source;
    Object.assign(this, { source, facts, tree: new Tree(facts.nodes) });
    this.start(labels);
    const on = this.answers();
    this.pictures = new Pictures(get("pictures"), facts, this.byPosition(on));
    this.list = new ClassList(get("classes"), on, source.canEdit);
    this.dendrogram = new Dendrogram(get("tree"), this.tree, facts, on);
    if (source.canLook) {
      this.closer = new Closer(source, this.tree, source.canEdit && ((at) => on.split(this.classes[at].key)));
      this.figures = new Figures(source, () => this.show());
    }
    Object.assign(get("slider"), { min: 2, max: this.tree.numLeaves });
    get("slider").addEventListener("input", (event) => this.slide(Number(event.target.value)));
    get("opacity").addEventListener("input", (event) => this.setOpacity(event.target.value / 100));
    get("enlarged").addEventListener("input", (event) => this.enlarge(Number(event.target.value)));
    get("earlier").addEventListener("click", () => this.turnTo(this.first - facts.images.length));
    get("later").addEventListener("click", () => this.turnTo(this.first + facts.images.length));
    Object.assign(this, { first: 0, enlarged: 1 });
    this.showRange();
    this.update();
  }

  start(labels) {
    const state = labels
      ? naming.fromLabels(this.tree, labels)
      : naming.freshState(this.tree, this.facts.suggested);
    this.history = new History(state);
    this.kept = this.labels;
    Object.assign(this, { chosen: null, highlighted: null, marked: new Set() });
  }

  get state() {
    return this.history.now;
  }

  get isUnsaved() {
    return JSON.stringify(this.labels) !== JSON.stringify(this.kept);
  }

  get labels() {
    return naming.toLabels(this.tree, this.state);
  }

  answers() {
    return {
      hover: (key) => this.highlight(key),
      choose: (key) => this.choose(key),
      mark: (key) => this.mark(key),
      split: (key) => this.edit(naming.split(this.tree, this.state, key)),
      close: (key) => this.edit(naming.close(this.tree, this.state, key)),
      look: (key) => this.look(key),
      name: (key) => this.source.canEdit && this.list.focusName(key),
      rename: (key, name) => this.edit(naming.rename(this.state, key, name), `name ${key}`),
      recolour: (key, to) => this.edit(naming.recolour(this.state, key, to), `colour ${key}`),
    };
  }

  byPosition({ hover, choose }) {
    const keyAt = (position) => (position === null ? null : this.classes[this.classIds[position]].key);
    return { hover: (at) => hover(keyAt(at)), choose: (at) => choose(keyAt(at)) };
  }

  slide(numClasses) {
    const within = Math.min(this.tree.numLeaves, Math.max(2, numClasses));
    this.edit(naming.slide(this.tree, this.state, within), "slide", true);
  }

  edit(state, kind = null, isView = false) {
    if (!this.source.canEdit && !isView) return;
    this.history.push(state, kind);
    this.showMessage("");
    this.update();
  }

  undo() {
    this.history.undo();
    this.update();
  }

  redo() {
    this.history.redo();
    this.update();
  }

  choose(key) {
    this.chosen = key;
    this.show();
  }

  step(by) {
    const at = this.classes.findIndex(({ key }) => key === this.chosen);
    const next = this.classes[at + by] ?? this.classes[by > 0 ? 0 : this.classes.length - 1];
    this.choose(next.key);
  }

  highlight(key) {
    if (this.hovered === key) return;
    this.hovered = key;
    this.show();
  }

  mark(key) {
    if (!this.marked.delete(key)) this.marked.add(key);
    this.show();
  }

  join() {
    const keys = [...this.marked];
    this.marked = new Set();
    this.edit(naming.join(this.tree, this.state, keys));
    this.choose(this.classes.find((one) => keys.every((key) => one.key.includes(key)))?.key ?? null);
  }

  setOpacity(opacity) {
    this.pictures.opacity = opacity;
    get("opacity").value = Math.round(opacity * 100);
    this.pictures.draw();
  }

  // Fewer and larger pictures in a row.
  enlarge(by) {
    this.enlarged = Math.min(5, Math.max(1, by));
    get("enlarged").value = this.enlarged;
    get("pictures").style.setProperty("--enlarged", this.enlarged);
  }

  // Show other samples of the dataset; they are drawn when they are asked for.
  async turnTo(first) {
    if (first < 0 || this.isTurning) return;
    this.isTurning = true;
    this.showRange(first);
    try {
      this.pictures.showSamples(await this.source.samples(first), first);
      Object.assign(this, { first, shown: null });
      await this.fetchMasks();
    } catch (error) {
      this.showMessage(error.message, "problem");
    }
    this.isTurning = false;
    this.showRange();
  }

  showRange(coming = null) {
    const first = coming ?? this.first;
    const range = `samples ${first} to ${first + this.facts.images.length - 1}`;
    get("range").textContent = coming === null ? range : `drawing ${range} …`;
    get("earlier").disabled = this.isTurning || this.first === 0;
    get("later").disabled = Boolean(this.isTurning);
  }

  // The state has changed: show what is known at once, and the masks when they come.
  update() {
    this.classes = naming.classesOf(this.tree, this.state);
    const keys = new Set(this.classes.map(({ key }) => key));
    if (!keys.has(this.chosen)) this.chosen = null;
    if (!keys.has(this.hovered)) this.hovered = null;
    this.marked = new Set([...this.marked].filter((key) => keys.has(key)));
    this.figures?.ask(this.classes);
    this.fetchMasks();
    this.show();
  }

  look(key) {
    this.closer?.open(this.classes, this.classes.findIndex((found) => found.key === key));
  }

  // A node of a joined class, seen apart from the rest of it.
  lookAtNode(node) {
    const at = this.classes.findIndex(({ nodes }) => nodes.includes(node));
    if (at < 0) return this.showMessage(`Node ${node} is no node of these classes any more.`, "problem");
    this.closer.open(this.classes, at);
    if (this.classes[at].nodes.length > 1) this.closer.deeper(node);
  }

  // Move a node to the class of that name, which may be new.
  giveAway(node, name) {
    const labels = this.labels.map((label) => ({ ...label, nodes: label.nodes.filter((one) => one !== node) }));
    const found = labels.find((label) => label.name === name);
    if (found) found.nodes.push(node);
    else labels.push({ name, colour: this.tree.nodes[node].colour, nodes: [node] });
    this.edit(naming.fromLabels(this.tree, labels.filter(({ nodes }) => nodes.length)));
  }

  async fetchMasks() {
    const { first, state: { cut } } = this;
    if (this.shown?.join() === cut.join()) return this.recount();
    try {
      const masks = await this.source.masks(cut, first);
      if (this.state.cut.join() !== cut.join() || this.first !== first) return;
      this.shown = cut;
      this.masks = masks;
      this.recount();
      this.show();
    } catch (error) {
      this.showMessage(error.message, "problem");
    }
  }

  recount() {
    const byNode = new Map(this.classes.flatMap(({ nodes, id }) => nodes.map((node) => [node, id])));
    this.classIds = Uint8Array.from(this.shown, (node) => byNode.get(node));
    this.shares = shares(this.masks, this.classIds, this.classes.length);
  }

  show() {
    const { state, classes, marked, chosen } = this;
    const highlighted = this.hovered ?? chosen;
    const view = { state, classes, chosen, highlighted, marked, shares: this.shares };
    view.warnings = this.figures?.warnings(classes);
    this.dendrogram.show(view);
    this.list.show(view);
    this.showNumbers();
    this.showButtons();
    if (this.shown?.join() !== state.cut.join()) return;
    const place = classes.findIndex(({ key }) => key === highlighted);
    const colours = classes.map(({ colour }) => colour);
    this.pictures.show(this.masks, this.classIds, colours, place < 0 ? null : place);
    get("pictures").dataset.cut = state.cut.length;
  }

  showNumbers() {
    const { cut } = this.state;
    const isFlat = this.tree.isFlat(cut);
    get("slider").value = cut.length;
    const joined = this.classes.length < cut.length ? ` from ${cut.length} clusters` : "";
    get("count").textContent = `${this.classes.length} classes${joined}`;
    get("quality").textContent = isFlat
      ? describeCut(this.facts, cut.length)
      : "Cut by branch; the slider goes back to whole cuts.";
    drawChart(get("chart"), this.facts, cut.length, (k) => this.slide(k));
    const names = naming.twins(this.classes);
    get("twins").hidden = !names.length;
    get("twins").textContent = `Two classes are called ${names.join(", ")}: join them, or rename one.`;
  }

  showButtons() {
    const found = this.classes.find(({ key }) => key === this.chosen);
    const node = found && !found.isJoined ? this.tree.nodes[found.nodes[0]] : null;
    get("split").disabled = !(found?.isJoined || node?.children);
    get("split").textContent = found?.isJoined ? "Take apart" : "Split";
    get("look").disabled = !found || !this.source.canLook;
    get("close").disabled = !node || this.tree.parent[node.id] === null;
    get("join").disabled = this.marked.size < 2;
    get("undo").disabled = !this.history.past.length;
    get("redo").disabled = !this.history.future.length;
    this.onShow?.();
  }

  showMessage(text, kind = "") {
    get("news").textContent = text;
    get("news").className = kind;
  }
}

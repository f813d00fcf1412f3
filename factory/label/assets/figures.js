// Warnings about the classes on the page, asked of the server when they have changed.

import { warningsOf } from "label/closer";
import { get } from "label/editor";

const PAUSE_MS = 200; // a slider passes many cuts
const AGAIN_MS = 2000; // while samples are still being drawn

export class Figures {
  constructor(source, onCome) {
    Object.assign(this, { source, onCome, key: "", found: null });
  }

  ask(classes) {
    const groups = classes.map(({ nodes }) => nodes);
    const key = JSON.stringify(groups);
    if (key === this.key) return;
    Object.assign(this, { key, found: null });
    get("classes").dataset.figures = "waiting";
    this.later(groups, key, PAUSE_MS);
  }

  later(groups, key, delay) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fetch(groups, key), delay);
  }

  async fetch(groups, key) {
    let found;
    try {
      found = await this.source.classes(groups);
    } catch {
      return; // what else the page asks will tell that the server is gone
    }
    if (key !== this.key) return;
    this.found = found;
    get("classes").dataset.figures = found.num_samples;
    this.onCome();
    if (found.num_samples < found.num_wanted) this.later(groups, key, AGAIN_MS);
  }

  // The warnings of each class, by id; undefined until they have come.
  warnings(classes) {
    return this.found?.classes.map((figures) => warningsOf(figures, classes));
  }
}

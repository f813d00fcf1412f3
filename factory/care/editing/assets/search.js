// Runs edits on the server: one at a time, with progress; results are kept by what was painted.

import { toBytes } from "paint/mask";

const PAUSE_MS = 150;
const MOST_RESULTS = 16;

export class Search {
  // `onProgress` is called while an edit runs; `onEnd` with a result, or null if it was stopped.
  constructor(source, { onProgress, onEnd }) {
    Object.assign(this, { source, onProgress, onEnd });
    this.results = new Map();
    this.latest = null;
    this.isRunning = false;
  }

  // The result for this paint; null if it was not applied.
  of(mask) {
    return (mask && this.results.get(keyOf(mask))) ?? null;
  }

  async apply(mask, steps, rate) {
    if (this.isRunning) return;
    this.isRunning = true;
    let result = null;
    try {
      const run = await this.source.edit(toBytes(mask), steps, rate);
      const progress = await this.follow(run);
      if (progress.state === "failed") throw new Error(progress.problem);
      if (progress.state === "done") {
        result = { run, facts: progress.facts, isSaved: false, ...(await this.source.after(run)) };
        this.keep(keyOf(mask), result);
      }
    } finally {
      this.isRunning = false;
      this.onEnd(result);
    }
  }

  async follow(run) {
    for (;;) {
      const progress = await this.source.progress();
      if (progress.run !== run) throw new Error("another page has started an edit of this sample");
      this.onProgress(progress);
      if (progress.state !== "running") return progress;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }

  keep(key, result) {
    this.results.delete(key);
    this.results.set(key, result);
    this.latest = result;
    if (this.results.size > MOST_RESULTS) this.results.delete(this.results.keys().next().value);
  }
}

const keyOf = (mask) => toBytes(mask).join();

// Saves each mask as it is painted: soon after an edit, one request at a time, the latest state last.

import { countPainted, toBytes } from "paint/mask";

const PAUSE_MS = 300;

export class Saving {
  // `show` is called with what to tell, `onSaved` with a picture whose file is written.
  constructor(source, { show, onSaved, onConflict }) {
    Object.assign(this, { source, show, onSaved, onConflict });
    this.waiting = null;
    this.running = null;
    window.addEventListener("beforeunload", (event) => (this.waiting || this.running) && event.preventDefault());
    document.addEventListener("visibilitychange", () => document.hidden && this.flush());
  }

  later(picture, mask) {
    this.waiting = { picture, mask };
    this.show("not saved yet", true);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), PAUSE_MS);
  }

  // Save what is waiting; resolves when everything is written. False if it was not.
  async flush() {
    clearTimeout(this.timer);
    while (this.running) await this.running;
    if (!this.waiting) return true;
    const { picture, mask } = this.waiting;
    this.waiting = null;
    this.running = this.write(picture, mask);
    const isWritten = await this.running;
    this.running = null;
    return isWritten && (this.waiting ? this.flush() : true);
  }

  async write(picture, mask) {
    try {
      picture.seen = await this.source.save(picture.name, toBytes(mask), picture.seen);
      picture.painted_px = countPainted(mask);
      this.show(picture.seen ? `saved in masks/${picture.name}.png` : "nothing painted, no file", false);
      this.onSaved(picture);
      return true;
    } catch (error) {
      this.waiting ??= { picture, mask };
      this.show(`not saved: ${error.message}`, true);
      if (error.status === 409) this.onConflict(picture);
      return false;
    }
  }

  drop() {
    clearTimeout(this.timer);
    this.waiting = null;
  }
}

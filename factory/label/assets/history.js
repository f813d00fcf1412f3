// States one after another, with the way back. Edits of one kind in a row are one step.

export class History {
  constructor(state) {
    this.now = state;
    this.past = [];
    this.future = [];
    this.kind = null;
  }

  push(state, kind) {
    if (state === this.now) return;
    if (kind === null || kind !== this.kind) this.past.push(this.now);
    this.now = state;
    this.kind = kind;
    this.future = [];
  }

  undo() {
    this.step(this.past, this.future);
  }

  redo() {
    this.step(this.future, this.past);
  }

  step(from, to) {
    if (!from.length) return;
    to.push(this.now);
    this.now = from.pop();
    this.kind = null;
  }
}

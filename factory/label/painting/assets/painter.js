// The picture in work: its mask with the way back, the tool, and what is suggested.

import { History } from "label/history";
import * as edits from "paint/mask";
import { OPEN } from "paint/mask";

const MOST_STEPS = 100;

export class Painter {
  // `onChange` is called after every change of what is seen; `onEdit` with a mask to save.
  constructor(side, { onChange, onEdit }) {
    Object.assign(this, { side, onChange, onEdit });
    this.tool = "brush";
    this.value = 0;
    this.width = 3;
    this.suggestion = null;
    this.regions = null;
    this.stroke = null;
    this.isLocked = true;
  }

  open(mask, isLocked) {
    this.history = new History(mask);
    this.suggestion = null;
    this.stroke = null;
    this.isLocked = isLocked;
    this.onChange();
  }

  get mask() {
    return this.stroke?.mask ?? this.history?.now;
  }

  // One gesture: of a brush a stroke, of other tools a click.
  start(place) {
    if (this.isLocked) return;
    if (this.tool === "fill" || this.tool === "take") {
      this.click(place);
      return;
    }
    this.stroke = { mask: this.history.now, last: place };
    this.draw(place);
  }

  draw(place) {
    const { stroke, side } = this;
    if (!stroke) return;
    let pixels = edits.strokePixels(side, stroke.last, place, this.width);
    if (this.regions) pixels = edits.snapPixels(this.regions, pixels, edits.strokePixels(side, stroke.last, place, 1));
    const value = this.tool === "erase" ? OPEN : this.value;
    this.stroke = { mask: edits.withPixels(stroke.mask, pixels, value), last: place };
    this.onChange();
  }

  end() {
    if (!this.stroke) return;
    const { mask } = this.stroke;
    this.stroke = null;
    this.push(mask);
  }

  cancel() {
    this.stroke = null;
    this.onChange();
  }

  // Fill what is connected and looks alike, be it painted or suggested; or take over a suggestion.
  click([x, y]) {
    const { mask, side, suggestion } = this;
    if (!edits.isInside(side, x, y)) return;
    const start = edits.at(side, x, y);
    const region = edits.connected(edits.covered(mask, suggestion), side, start);
    if (this.tool === "fill") this.push(edits.withPixels(mask, region, this.value));
    else if (suggestion) this.push(edits.accepted(mask, suggestion, region));
  }

  accept() {
    if (!this.suggestion || this.isLocked) return;
    const mask = edits.accepted(this.mask, this.suggestion);
    this.suggestion = null;
    this.push(mask);
  }

  suggest(suggestion) {
    this.suggestion = suggestion;
    this.onChange();
  }

  push(mask) {
    const before = this.history.now;
    this.history.push(mask, null);
    this.history.past.splice(0, this.history.past.length - MOST_STEPS);
    this.settle(before);
  }

  undo() {
    this.travel("undo");
  }

  redo() {
    this.travel("redo");
  }

  travel(way) {
    if (!this.history || this.isLocked) return;
    const before = this.history.now;
    this.history[way]();
    this.settle(before);
  }

  settle(before) {
    this.onChange();
    if (this.history.now !== before) this.onEdit(this.history.now);
  }
}

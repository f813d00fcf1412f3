// What a pointer does on the canvas: one paints, two fingers (or the middle button, or space) move the
// picture, the wheel enlarges it.

export class Gestures {
  // `act` has start(place), draw(place), end(), cancel(), each with places in the picture.
  constructor(view, act) {
    Object.assign(this, { view, act });
    this.fingers = new Map();
    this.isPainting = false;
    this.isSpaceDown = false;
    document.addEventListener("keydown", (event) => this.space(event, true));
    document.addEventListener("keyup", (event) => this.space(event, false));
    const { canvas } = view;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => this.up(event));
    }
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  down(event) {
    event.preventDefault();
    this.view.canvas.focus({ preventScroll: true });
    this.view.canvas.setPointerCapture(event.pointerId);
    this.fingers.set(event.pointerId, this.view.dotOf(event));
    if (this.fingers.size > 1) this.stop();
    else if (event.button === 0 && !this.isSpaceDown) {
      this.isPainting = true;
      this.act.start(this.view.placeOf(event));
    }
  }

  move(event) {
    const before = this.fingers.get(event.pointerId);
    this.view.cursor = { place: this.view.placeOf(event), width: this.act.width() };
    if (!before) {
      this.view.draw();
      return;
    }
    if (this.isPainting) {
      const parts = event.getCoalescedEvents?.() ?? [];
      for (const part of parts.length ? parts : [event]) this.act.draw(this.view.placeOf(part));
      return;
    }
    const now = this.view.dotOf(event);
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    if (other) this.pinch(before, now, other);
    else this.view.move(now[0] - before[0], now[1] - before[1]);
  }

  // Two fingers: half of the way of one is the way of their middle.
  pinch(before, now, other) {
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    this.view.move((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    if (apart(before) > 0) this.view.enlarge(apart(now) / apart(before), middle);
  }

  up(event) {
    this.fingers.delete(event.pointerId);
    if (!this.isPainting) return;
    this.isPainting = false;
    if (event.type === "pointercancel") this.act.cancel();
    else this.act.end();
  }

  // A second finger came down: the first was no brush.
  stop() {
    if (this.isPainting) this.act.cancel();
    this.isPainting = false;
  }

  // Space held moves the picture, unless it presses a button.
  space(event, isDown) {
    if (event.key !== " " || event.target.closest("input, select, button")) return;
    event.preventDefault();
    this.isSpaceDown = isDown;
  }

  leave() {
    this.view.cursor = null;
    this.view.draw();
  }

  wheel(event) {
    event.preventDefault();
    this.view.enlarge(Math.exp(-event.deltaY / 400), this.view.dotOf(event));
  }
}

// The canvas with its tools, colours and keys, as every page with paint has them.

import { Gestures } from "paint/gestures";
import { regionsOf } from "paint/mask";
import { get, tell } from "paint/page";
import { Painter } from "paint/painter";
import { Palette } from "paint/palette";
import { View } from "paint/view";

const STEP_DOTS = 60;
const SNAPS = ["", "fine", "coarse"];

// What a button or a key does; what goes wrong is told.
export const telling = (act) => () => Promise.resolve(act()).catch((error) => tell(error.message, "problem"));

export class Tools {
  // `onShow` shows what is the page's own, whenever anything has changed, and `onEdit` is given each changed
  // mask. `nameOf` is the name of the picture, and `unpainted` the colour of what is not painted, if it has one.
  constructor({ side, classes }, source, { onShow, onEdit, nameOf, unpainted }) {
    this.source = source;
    this.onShow = onShow;
    this.nameOf = nameOf;
    this.asked = 0;
    this.colours = classes.map(({ colour }) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16)));
    get("width").max = Math.max(12, Math.round(side / 4));
    this.view = new View(get("canvas"), side, this.colours);
    this.palette = new Palette(classes, (value) => this.choose(value), unpainted);
    const painter = new Painter(side, { onChange: () => this.show(), onEdit });
    this.painter = painter;
    new Gestures(this.view, {
      start: (place) => painter.tool !== "hand" && painter.start(place),
      draw: (place) => painter.draw(place),
      end: () => painter.end(),
      cancel: () => painter.cancel(),
      width: () => (["brush", "erase"].includes(painter.tool) ? painter.width : 0),
    });
  }

  show() {
    const { painter, view } = this;
    view.regions = painter.regions;
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-checked", String(button.dataset.tool === painter.tool));
    }
    get("canvas").dataset.tool = painter.tool;
    get("canvas").dataset.snap = painter.regions ? get("snap").value : "";
    get("width").value = painter.width;
    get("width-px").textContent = `${painter.width} px`;
    get("undo").disabled = !painter.history?.past.length;
    get("redo").disabled = !painter.history?.future.length;
    get("hide").setAttribute("aria-pressed", String(view.isHidden));
    this.onShow();
  }

  choose(value) {
    this.painter.value = value;
    if (this.painter.tool !== "fill") this.painter.tool = "brush";
    this.show();
  }

  use(tool) {
    this.painter.tool = tool;
    // The cursor of a tool that paints no stroke is the system's.
    this.view.cursor = null;
    this.show();
  }

  widen(step) {
    const width = this.painter.width + step * Math.max(1, Math.round(this.painter.width / 6));
    this.painter.width = Math.min(Number(get("width").max), Math.max(1, width));
    this.show();
  }

  async snap(size) {
    const asked = ++this.asked;
    get("snap").value = size;
    const ids = size ? await this.source.superpixels(this.nameOf(), size) : null;
    if (asked !== this.asked) return; // another size, or another picture meanwhile
    this.painter.regions = ids && regionsOf(ids);
    this.show();
  }

  // Buttons and keys: `actions` of the page by their buttons, and its keys, alone and with Ctrl.
  listen(actions, letters, withControl) {
    const { painter, view } = this;
    const acts = {
      undo: () => painter.undo(),
      redo: () => painter.redo(),
      help: () => get("keys").showModal(),
      larger: () => view.enlarge(1.5),
      smaller: () => view.enlarge(1 / 1.5),
      whole: () => view.fit(),
      hide: () => {
        view.isHidden = !view.isHidden;
        this.show();
      },
      ...actions,
    };
    for (const [id, act] of Object.entries(acts)) get(id).addEventListener("click", act);
    for (const button of document.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => this.use(button.dataset.tool));
    }
    get("width").addEventListener("input", (event) => {
      painter.width = Number(event.target.value);
      this.show();
    });
    get("opacity").addEventListener("input", (event) => {
      view.opacity = event.target.value / 100;
      this.show();
    });
    get("snap").addEventListener("change", (event) => telling(() => this.snap(event.target.value))());
    const keys = { ...this.keysOf(acts), ...letters };
    const control = { z: acts.undo, y: acts.redo, Z: acts.redo, ...withControl };
    document.addEventListener("keydown", (event) => this.press(event, keys, control));
  }

  keysOf(acts) {
    const { view } = this;
    return {
      b: () => this.use("brush"),
      f: () => this.use("fill"),
      e: () => this.use("erase"),
      h: () => this.use("hand"),
      s: telling(() => this.snap(SNAPS[(SNAPS.indexOf(get("snap").value) + 1) % SNAPS.length])),
      "[": () => this.widen(-1),
      "]": () => this.widen(1),
      "+": acts.larger,
      "=": acts.larger,
      "-": acts.smaller,
      w: acts.whole,
      o: acts.hide,
      ArrowLeft: () => view.move(STEP_DOTS, 0),
      ArrowRight: () => view.move(-STEP_DOTS, 0),
      ArrowUp: () => view.move(0, STEP_DOTS),
      ArrowDown: () => view.move(0, -STEP_DOTS),
      "?": acts.help,
    };
  }

  press(event, letters, withControl) {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const isControl = event.ctrlKey || event.metaKey;
    const isControlled = event.target.closest("input, select, button");
    const isNative = isControlled && /^(Arrow|Enter| )/.test(event.key);
    const value = this.palette.valueOf(event.key);
    const pick = value === undefined ? letters[event.key] : () => this.choose(value);
    const act = isControl ? withControl[event.key] : !isNative && pick;
    if (!act || event.altKey) return;
    event.preventDefault();
    act();
  }
}

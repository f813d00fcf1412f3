// The classes to paint with, `ignore` among them, and how much of the picture each has.

import { IGNORED } from "paint/mask";
import { get } from "paint/page";

export class Palette {
  // `rest` is what is painted beside classes.
  constructor(classes, choose, rest = { name: "ignore", value: IGNORED }) {
    this.entries = classes.map(({ name, colour }, value) => ({ name, colour, value, key: value + 1 }));
    this.entries.push({ colour: "#000000", key: 0, ...rest });
    for (const entry of this.entries) {
      const button = document.createElement("button");
      button.setAttribute("role", "radio");
      const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
      swatch.style.background = entry.colour;
      const name = Object.assign(document.createElement("span"), { textContent: entry.name });
      entry.share = Object.assign(document.createElement("span"), { className: "share" });
      const key = Object.assign(document.createElement("span"), {
        className: "key",
        textContent: entry.key < 10 ? entry.key : "",
      });
      button.append(swatch, name, key, entry.share);
      button.addEventListener("click", () => choose(entry.value));
      const item = document.createElement("li");
      item.append(button);
      get("colours").append(item);
      entry.button = button;
    }
  }

  show(chosen, mask) {
    const counts = new Array(256).fill(0);
    mask?.forEach((value) => counts[value]++);
    for (const { value, button, share } of this.entries) {
      button.setAttribute("aria-checked", String(value === chosen));
      share.textContent = mask ? `${((100 * counts[value]) / mask.length).toFixed(1)} %` : "";
    }
  }

  // The value of a number key; undefined if it has none.
  valueOf(key) {
    return this.entries.find((entry) => String(entry.key) === key)?.value;
  }
}

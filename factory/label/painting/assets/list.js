// The pictures beside the canvas: small, with how much of each is painted, and which one is next.

import { get } from "paint/page";

export class List {
  constructor(facts, source, open) {
    this.facts = facts;
    this.items = new Map();
    this.next = null;
    const watch = new IntersectionObserver((seen) => {
      for (const { target, isIntersecting } of seen) {
        if (!isIntersecting) continue;
        watch.unobserve(target);
        this.load(source, target.dataset.name);
      }
    });
    for (const picture of facts.pictures) {
      const button = document.createElement("button");
      button.dataset.name = picture.name;
      button.title = [picture.name, picture.generator_class].filter(Boolean).join(" · ");
      button.append(document.createElement("canvas"), document.createElement("span"));
      button.addEventListener("click", () => open(picture));
      const item = document.createElement("li");
      item.append(button);
      get("thumbs").append(item);
      this.items.set(picture.name, button);
      watch.observe(button);
    }
    this.show(null);
  }

  async load(source, name) {
    const canvas = this.items.get(name).querySelector("canvas");
    const small = await source.small(name).catch(() => null);
    if (!small) return;
    Object.assign(canvas, { width: small.width, height: small.height });
    canvas.getContext("2d").drawImage(small, 0, 0);
  }

  show(current) {
    const { pictures, side } = this.facts;
    for (const picture of pictures) {
      const button = this.items.get(picture.name);
      button.setAttribute("aria-current", String(picture === current));
      const share = Math.round((100 * picture.painted_px) / (side * side));
      const painted = picture.painted_px ? `${Math.max(1, share)} %` : "open";
      button.querySelector("span").textContent = picture.name === this.next ? "★ next" : painted;
    }
    const done = pictures.filter((picture) => picture.painted_px).length;
    get("progress").textContent = `${done} of ${pictures.length} painted`;
  }
}

// The sample before and after, with all masks side by side, and what changed in figures.

import { OPEN } from "paint/mask";
import { get } from "paint/page";

export class Result {
  constructor(side, colours) {
    Object.assign(this, { side, colours });
    for (const canvas of document.querySelectorAll("#result canvas")) {
      Object.assign(canvas, { width: side, height: side });
    }
  }

  showBefore({ image, mask }) {
    this.drawImage("before", image);
    this.drawMask("before-mask", mask);
  }

  showWanted(mask) {
    this.drawMask("wanted", mask);
  }

  // `isOld`: it is of other paint than there is now. Null = there is none.
  showAfter(result, isOld) {
    get("result").classList.toggle("old", isOld);
    get("result").dataset.run = result && !isOld ? result.run : "";
    if (!result) {
      get("figures").textContent = "Paint a change, then apply it.";
      return;
    }
    this.drawImage("after", result.image);
    this.drawMask("after-mask", result.mask);
    get("figures").textContent = isOld
      ? "The paint has changed since: apply it again."
      : describe(result.facts);
  }

  drawImage(id, image) {
    get(id).getContext("2d").drawImage(image, 0, 0, this.side, this.side);
  }

  drawMask(id, mask) {
    const pen = get(id).getContext("2d");
    const pixels = pen.createImageData(this.side, this.side);
    mask.forEach((value, pixel) => {
      const rgb = value === OPEN ? [128, 128, 128] : this.colours[value];
      pixels.data.set([...rgb, 255], 4 * pixel);
    });
    pen.putImageData(pixels, 0, 0);
  }
}

function describe(facts) {
  const percent = (share) => `${Math.round(100 * share)} %`;
  return [
    `${percent(facts.painted_after)} of what was painted has its class now, ${percent(facts.painted_before)} had it before.`,
    `Colours changed by ${facts.inside_change.toFixed(1)} of 255 there, by ${facts.outside_change.toFixed(1)} elsewhere,`,
    `where ${percent(facts.outside_class_change)} have another class. ${facts.forwards} images were computed.`,
  ].join(" ");
}

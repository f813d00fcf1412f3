// The samples with their masks: a picture, and a canvas over it.

const VEIL = 0xb0303030;

export class Pictures {
  constructor(place, facts, on) {
    this.side = facts.mask_side;
    this.opacity = 0.5;
    this.images = [];
    this.tiles = facts.images.map((_, index) => this.tile(place, index, on));
    this.showSamples(facts.images, 0);
  }

  // Other samples, whose masks are yet to come.
  showSamples(images, first) {
    this.masks = null;
    images.forEach((image, at) => Object.assign(this.images[at], { src: image, alt: `sample ${first + at}` }));
    for (const canvas of this.tiles) canvas.getContext("2d").clearRect(0, 0, this.side, this.side);
  }

  tile(place, index, on) {
    const figure = document.createElement("figure");
    const picture = new Image();
    this.images.push(picture);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = this.side;
    figure.append(picture, canvas);
    const at = (event) => this.positionAt(index, canvas, event);
    figure.addEventListener("pointermove", (event) => on.hover(at(event)));
    figure.addEventListener("pointerleave", () => on.hover(null));
    figure.addEventListener("click", (event) => on.choose(at(event)));
    place.append(figure);
    return canvas;
  }

  positionAt(index, canvas, event) {
    if (!this.masks) return null;
    const box = canvas.getBoundingClientRect();
    const place = (offset, length) =>
      Math.min(this.side - 1, Math.max(0, Math.floor((offset / length) * this.side)));
    const row = place(event.clientY - box.top, box.height);
    const column = place(event.clientX - box.left, box.width);
    return this.masks[(index * this.side + row) * this.side + column];
  }

  // `masks` holds positions in a cut; `classIds` the class of each position.
  show(masks, classIds, colours, highlighted) {
    this.masks = masks;
    this.classIds = classIds;
    this.colours = colours;
    this.highlighted = highlighted;
    this.draw();
  }

  draw() {
    if (!this.masks) return;
    const { fill, line } = this.paints();
    const pixels = this.side * this.side;
    this.tiles.forEach((canvas, index) => {
      const mask = this.masks.subarray(index * pixels, (index + 1) * pixels);
      const context = canvas.getContext("2d");
      const image = context.createImageData(this.side, this.side);
      paint(new Uint32Array(image.data.buffer), mask, this.classIds, fill, line, this.side);
      context.putImageData(image, 0, 0);
    });
  }

  // Little-endian RGBA words for the inside and the border of each class.
  paints() {
    const { highlighted, opacity } = this;
    const word = (colour, alpha) => {
      const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
      return ((Math.round(alpha * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    };
    const isDim = (id) => highlighted !== null && id !== highlighted;
    const inside = (id) => (id === highlighted ? Math.max(opacity, 0.35) : opacity);
    const fill = this.colours.map((c, id) => (isDim(id) ? VEIL : word(c, inside(id))));
    const edge = (id) => (inside(id) ? Math.min(1, inside(id) + 0.4) : 0);
    const line = this.colours.map((c, id) => (isDim(id) ? VEIL : word(c, edge(id))));
    return { fill, line };
  }
}

function paint(words, mask, classIds, fill, line, side) {
  for (let at = 0; at < words.length; at += 1) {
    const id = classIds[mask[at]];
    const left = at % side ? classIds[mask[at - 1]] : id;
    const above = at >= side ? classIds[mask[at - side]] : id;
    words[at] = left === id && above === id ? fill[id] : line[id];
  }
}

// Share of all pixels of each class.
export function shares(masks, classIds, numClasses) {
  const counts = new Array(numClasses).fill(0);
  for (const position of masks) counts[classIds[position]] += 1;
  return counts.map((count) => count / masks.length);
}

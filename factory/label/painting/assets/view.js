// The picture on the screen: its part and size, paint over it, suggestions as hatching.

import { IGNORED, OPEN } from "paint/mask";

const MOST_ZOOM = 64;
const HATCH_PX = 6;

export class View {
  constructor(canvas, side, colours) {
    Object.assign(this, { canvas, side, colours });
    this.pen = canvas.getContext("2d");
    this.paint = layerOf(side, side);
    this.hint = layerOf(side, side);
    this.hatched = layerOf(1, 1);
    this.opacity = 0.5;
    this.isHidden = false;
    this.cursor = null;
    this.regions = null;
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  show(picture) {
    this.picture = picture;
    this.fit();
  }

  // The whole picture, as large as there is room.
  fit() {
    const { width, height } = this.canvas.getBoundingClientRect();
    const dots = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * dots);
    this.canvas.height = Math.round(height * dots);
    this.least = Math.min(this.canvas.width, this.canvas.height) / this.side;
    this.zoom = this.least;
    this.left = (this.canvas.width - this.side * this.zoom) / 2;
    this.top = (this.canvas.height - this.side * this.zoom) / 2;
    this.draw();
  }

  // A place on the screen as [x, y] of the picture, in pixels.
  placeOf({ clientX, clientY }) {
    const [x, y] = this.dotOf({ clientX, clientY });
    return [(x - this.left) / this.zoom, (y - this.top) / this.zoom];
  }

  dotOf({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    const dots = this.canvas.width / box.width;
    return [(clientX - box.left) * dots, (clientY - box.top) * dots];
  }

  // Enlarge, so that what is at this dot of the canvas stays there.
  enlarge(factor, [x, y] = [this.canvas.width / 2, this.canvas.height / 2]) {
    const zoom = Math.min(this.least * MOST_ZOOM, Math.max(this.least, this.zoom * factor));
    this.left = x - ((x - this.left) / this.zoom) * zoom;
    this.top = y - ((y - this.top) / this.zoom) * zoom;
    this.zoom = zoom;
    this.move(0, 0);
  }

  // Move by dots; half of the picture at least stays in sight.
  move(dx, dy) {
    const bounded = (start, room) => {
      const length = this.side * this.zoom;
      return Math.min(room - Math.min(length, room) / 2, Math.max(Math.min(length, room) / 2 - length, start));
    };
    this.left = bounded(this.left + dx, this.canvas.width);
    this.top = bounded(this.top + dy, this.canvas.height);
    this.draw();
  }

  // Take over what is painted and what is suggested where nothing is.
  load(mask, suggestion) {
    fillLayer(this.paint, mask, this.colours, this.opacity);
    if (suggestion) {
      const rest = suggestion.map((value, pixel) => (mask[pixel] === OPEN ? value : OPEN));
      fillLayer(this.hint, rest, this.colours, Math.min(1, this.opacity + 0.2));
    }
    this.hasHint = Boolean(suggestion);
    this.draw();
  }

  draw() {
    const { pen, canvas } = this;
    if (!this.picture || !canvas.width) return;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    this.place(pen, this.picture);
    if (!this.isHidden) {
      this.place(pen, this.paint);
      if (this.hasHint) this.drawHint();
      if (this.regions) this.drawRegions();
    }
    if (this.cursor) this.drawCursor();
  }

  place(pen, layer) {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(layer, this.left, this.top, this.side * this.zoom, this.side * this.zoom);
  }

  // Hatched on the screen, not in the picture, whose pixels may be too large for it.
  drawHint() {
    const { width, height } = this.canvas;
    Object.assign(this.hatched, { width, height });
    const pen = this.hatched.getContext("2d");
    this.place(pen, this.hint);
    pen.globalCompositeOperation = "destination-in";
    pen.lineWidth = HATCH_PX / 2;
    pen.beginPath();
    for (let x = -height; x < width; x += HATCH_PX * 1.5) {
      pen.moveTo(x, height);
      pen.lineTo(x + height, 0);
    }
    pen.stroke();
    this.pen.drawImage(this.hatched, 0, 0);
  }

  drawRegions() {
    const { pen, side, zoom, left, top } = this;
    const { ids } = this.regions;
    pen.beginPath();
    for (let pixel = 0; pixel < ids.length; pixel++) {
      const [x, y] = [left + (pixel % side) * zoom, top + Math.floor(pixel / side) * zoom];
      if (pixel % side && ids[pixel] !== ids[pixel - 1]) {
        pen.moveTo(x, y);
        pen.lineTo(x, y + zoom);
      }
      if (pixel >= side && ids[pixel] !== ids[pixel - side]) {
        pen.moveTo(x, y);
        pen.lineTo(x + zoom, y);
      }
    }
    pen.lineWidth = 1;
    pen.strokeStyle = "#fff9";
    pen.stroke();
  }

  drawCursor() {
    const { pen, zoom } = this;
    const [x, y] = this.cursor.place;
    const radius = Math.max(2, (this.cursor.width / 2) * zoom);
    for (const [width, style] of [[3, "#fff"], [1.2, "#000"]]) {
      pen.beginPath();
      pen.arc(this.left + x * zoom, this.top + y * zoom, radius, 0, 2 * Math.PI);
      pen.lineWidth = width;
      pen.strokeStyle = style;
      pen.stroke();
    }
  }
}

function layerOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function fillLayer(layer, mask, colours, opacity) {
  const pen = layer.getContext("2d");
  const pixels = pen.createImageData(layer.width, layer.height);
  mask.forEach((value, pixel) => {
    if (value === OPEN) return;
    const rgb = value === IGNORED ? [0, 0, 0] : colours[value];
    pixels.data.set([...rgb, 255 * opacity], 4 * pixel);
  });
  pen.putImageData(pixels, 0, 0);
}

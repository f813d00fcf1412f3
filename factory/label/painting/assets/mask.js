// Edits of a mask as values: each gives a new mask, or the old one where nothing changes.
//
// A mask is a Uint8Array of class ids, row by row. OPEN is what nobody painted. IGNORED is what a
// person painted as "ignore": no suggestion covers it. In the file both are 255.

export const OPEN = 255;
export const IGNORED = 254;

export const isClass = (value) => value < IGNORED;
export const toBytes = (mask) => mask.map((value) => (isClass(value) ? value : OPEN));
export const countPainted = (mask) => mask.reduce((count, value) => count + isClass(value), 0);

// Pixels whose centres are within half of `width` of a line, and those that the line starts and ends
// in. Points are [x, y] in pixels; the first pixel is from 0 to 1.
export function strokePixels(side, from, to, width) {
  const found = new Set();
  const reach = width / 2;
  const [left, right] = spanOf(from[0], to[0], reach, side);
  const [top, bottom] = spanOf(from[1], to[1], reach, side);
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      if (distance([x + 0.5, y + 0.5], from, to) <= reach) found.add(y * side + x);
    }
  }
  for (const [x, y] of [from, to]) if (isInside(side, x, y)) found.add(at(side, x, y));
  return found;
}

const spanOf = (one, other, reach, side) => [
  Math.max(0, Math.floor(Math.min(one, other) - reach)),
  Math.min(side - 1, Math.floor(Math.max(one, other) + reach)),
];

function distance([x, y], [x0, y0], [x1, y1]) {
  const [dx, dy] = [x1 - x0, y1 - y0];
  const length = dx * dx + dy * dy;
  const along = length ? Math.min(1, Math.max(0, ((x - x0) * dx + (y - y0) * dy) / length)) : 0;
  return Math.hypot(x - x0 - along * dx, y - y0 - along * dy);
}

export const isInside = (side, x, y) => x >= 0 && y >= 0 && x < side && y < side;
export const at = (side, x, y) => Math.floor(y) * side + Math.floor(x);

// The superpixels that a stroke goes through, whole: those under its middle, and those of which it
// covers half.
export function snapPixels(regions, stroke, middle) {
  const covered = new Map();
  for (const pixel of stroke) covered.set(regions.ids[pixel], (covered.get(regions.ids[pixel]) ?? 0) + 1);
  const under = new Set([...middle].map((pixel) => regions.ids[pixel]));
  const found = new Set();
  for (const [id, count] of covered) {
    const pixels = regions.pixels[id];
    if (under.has(id) || 2 * count >= pixels.length) pixels.forEach((pixel) => found.add(pixel));
  }
  return found;
}

export function regionsOf(ids) {
  const pixels = [];
  ids.forEach((id, pixel) => (pixels[id] ??= []).push(pixel));
  return { ids, pixels };
}

// The connected pixels (4 neighbours) of the value that is seen at `start`.
export function connected(seen, side, start) {
  const found = new Set([start]);
  const rest = [start];
  while (rest.length) {
    const pixel = rest.pop();
    const x = pixel % side;
    const beside = [x > 0 && pixel - 1, x < side - 1 && pixel + 1, pixel - side, pixel + side];
    for (const other of beside) {
      if (other === false || seen[other] !== seen[start] || found.has(other)) continue;
      found.add(other);
      rest.push(other);
    }
  }
  return found;
}

export function withPixels(mask, pixels, value) {
  const changed = [...pixels].filter((pixel) => mask[pixel] !== value);
  if (!changed.length) return mask;
  const next = mask.slice();
  for (const pixel of changed) next[pixel] = value;
  return next;
}

// The mask, and the suggestion where nothing is painted.
export const covered = (mask, suggestion) =>
  suggestion ? mask.map((value, pixel) => (value === OPEN ? suggestion[pixel] : value)) : mask;

// A suggestion taken over where nothing is painted: everywhere, or at some pixels.
export function accepted(mask, suggestion, pixels = null) {
  const next = mask.slice();
  const take = (pixel) => {
    if (next[pixel] === OPEN) next[pixel] = suggestion[pixel];
  };
  if (pixels) pixels.forEach(take);
  else next.forEach((_, pixel) => take(pixel));
  return next;
}

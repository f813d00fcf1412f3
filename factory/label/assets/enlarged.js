// Enlarged pictures: the picture, the class on it, its parts, and which pixels would change.

export const PART_COLOURS = ["#ffd400", "#00a8ff", "#ff4fa3", "#4fd06a", "#ff8a3c", "#b38cff", "#00d5c8", "#c9c9c9"];
const LINE = "#35ff5a"; // a class's own colour may be that of the picture
const [CHANGED, LEAVES, COMES] = ["#ff00c8", "#fff200", "#00e5ff"];

// `sample` is {picture, side, row, inside, parts}; its row gets a figure for each way to see it.
export function paintTiles(sample, { zoom, nodes }) {
  const { inside, parts, row } = sample;
  const largest = largestPart(parts, nodes.length);
  const changes = changesOf(inside, parts, largest);
  const partColour = (value) => PART_COLOURS[(value - 1) % PART_COLOURS.length];
  const tiles = [
    [`picture ${sample.index}`, tile(sample, zoom, {})],
    ["the class", tile(sample, zoom, { isGrey: (at) => !inside[at], region: inside, line: () => LINE })],
  ];
  if (nodes.length > 1) {
    tiles.push(
      ["its parts", tile(sample, zoom, {
        isGrey: () => true, region: parts, line: (value) => value && partColour(value),
        fill: (at) => parts[at] && partColour(parts[at]),
      })],
      [told(changes, nodes, largest), tile(sample, zoom, {
        isGrey: () => true, region: inside, line: () => LINE,
        fill: (at) => [null, CHANGED, LEAVES, COMES][changes[at]], alpha: 0.85,
      })],
    );
  }
  row.replaceChildren(...tiles.map(([text, canvas]) => {
    const figure = document.createElement("figure");
    figure.append(canvas, Object.assign(document.createElement("figcaption"), { textContent: text }));
    figure.style.width = `${canvas.width}px`;
    return figure;
  }));
}

function largestPart(parts, count) {
  const sizes = new Array(count + 1).fill(0);
  for (const part of parts) sizes[part] += 1;
  sizes[0] = -1;
  return sizes.indexOf(Math.max(...sizes));
}

// 1: becomes another part; 2: leaves for another class; 3: comes from one.
function changesOf(inside, parts, largest) {
  return parts.map((part, at) => {
    if (inside[at]) return part === 0 ? 2 : part === largest ? 0 : 1;
    return part ? 3 : 0;
  });
}

function told(changes, nodes, largest) {
  const count = (kind) => changes.reduce((sum, change) => sum + (change === kind), 0);
  const others = nodes.filter((_, at) => at !== largest - 1);
  return `split: ${count(1)} px become ${others.join(", ")}; ${count(2)} leave (yellow), ${count(3)} come (cyan)`;
}

function tile({ picture, side }, zoom, { isGrey, region, line, fill, alpha = 0.5 }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side * zoom;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  if (isGrey) context.drawImage(greyed(picture, side, isGrey), 0, 0, canvas.width, canvas.height);
  else context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const pixels = side * side;
  for (let at = 0; fill && at < pixels; at += 1) {
    const colour = fill(at);
    if (!colour) continue;
    context.globalAlpha = alpha;
    context.fillStyle = colour;
    context.fillRect((at % side) * zoom, Math.floor(at / side) * zoom, zoom, zoom);
  }
  context.globalAlpha = 1;
  if (region) outline(context, region, side, zoom, line);
  return canvas;
}

function greyed(picture, side, isGrey) {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, side, side);
  const image = context.getImageData(0, 0, side, side);
  for (let at = 0; at < side * side; at += 1) {
    if (!isGrey(at)) continue;
    const [red, green, blue] = image.data.subarray(4 * at, 4 * at + 3);
    image.data.fill(60 + 0.55 * (0.3 * red + 0.59 * green + 0.11 * blue), 4 * at, 4 * at + 3);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// Lines between pixels of different values, on the side of the value that has a colour.
function outline(context, region, side, zoom, line) {
  const width = Math.max(1, Math.round(zoom / 3));
  const draw = (value, x, y, w, h) => {
    const colour = value && line(value);
    if (!colour) return;
    context.fillStyle = colour;
    context.fillRect(x, y, w, h);
  };
  for (let at = 0; at < region.length; at += 1) {
    const [x, y] = [(at % side) * zoom, Math.floor(at / side) * zoom];
    const [here, right, below] = [region[at], region[at + 1], region[at + side]];
    if ((at + 1) % side && here !== right) {
      draw(here, x + zoom - width, y, width, zoom);
      draw(right, x + zoom, y, width, zoom);
    }
    if (at + side < region.length && here !== below) {
      draw(here, x, y + zoom - width, zoom, width);
      draw(below, x, y + zoom, zoom, width);
    }
  }
}

// Where it lies: the share of pictures in which it holds each place, on the scale of its own maximum.
export function paintPlace(canvas, place, grid) {
  canvas.width = canvas.height = grid;
  const context = canvas.getContext("2d");
  const image = context.createImageData(grid, grid);
  const most = Math.max(1, ...place);
  place.forEach((value, at) => {
    const share = value / most;
    image.data.set([255 * Math.min(1, 2 * share), 255 * share ** 2, 90 * (1 - share), 255], 4 * at);
  });
  context.putImageData(image, 0, 0);
  return `where it lies: dark in no picture, brightest in ${(most / 2.55).toFixed(0)} % of them`;
}

// Opens the page: the list, the canvas, tools, keys, saving and suggestions.

import { Gestures } from "paint/gestures";
import { List } from "paint/list";
import { countPainted, OPEN, regionsOf } from "paint/mask";
import { get, tell } from "paint/page";
import { Painter } from "paint/painter";
import { Palette } from "paint/palette";
import { Saving } from "paint/saving";
import { Source } from "paint/source";
import { View } from "paint/view";

const LEARN_MS = 1500;
const STEP_DOTS = 60;
const SNAPS = ["", "fine", "coarse"];

const source = new Source();
const facts = await source.facts().catch((error) => {
  tell(error.message, "problem");
  throw error;
});
get("name").textContent = facts.name;
document.title = `${facts.name}: pictures to paint`;
get("width").max = Math.max(12, Math.round(facts.side / 4));

const colours = facts.classes.map(({ colour }) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16)));
const view = new View(get("canvas"), facts.side, colours);
const palette = new Palette(facts.classes, (value) => choose(value));
const list = new List(facts, source, (picture) => open(picture));
let current = null;
let learning = null;

const painter = new Painter(facts.side, {
  onChange: show,
  onEdit: (mask) => saving.later(current, mask),
});
const saving = new Saving(source, {
  show: (text, isUnsaved) => {
    get("saved").textContent = text;
    get("saved").classList.toggle("unsaved", isUnsaved);
  },
  onSaved: () => {
    list.show(current);
    clearTimeout(learning);
    learning = setTimeout(() => findNext().catch(() => null), LEARN_MS);
  },
  onConflict: () => get("conflict").showModal(),
});
new Gestures(view, {
  start: (place) => painter.tool !== "hand" && painter.start(place),
  draw: (place) => painter.draw(place),
  end: () => painter.end(),
  cancel: () => painter.cancel(),
  width: () => (["brush", "erase"].includes(painter.tool) ? painter.width : 0),
});

function show() {
  view.regions = painter.regions;
  if (painter.mask) view.load(painter.mask, painter.suggestion);
  palette.show(painter.value, painter.mask);
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-checked", String(button.dataset.tool === painter.tool));
  }
  get("canvas").dataset.tool = painter.tool;
  get("canvas").dataset.suggested = String(Boolean(painter.suggestion));
  get("canvas").dataset.snap = painter.regions ? get("snap").value : "";
  get("width").value = painter.width;
  get("width-px").textContent = `${painter.width} px`;
  get("undo").disabled = !painter.history?.past.length;
  get("redo").disabled = !painter.history?.future.length;
  get("accept").disabled = get("discard").disabled = !painter.suggestion;
  get("hide").setAttribute("aria-pressed", String(view.isHidden));
  list.show(current);
}

function choose(value) {
  painter.value = value;
  if (painter.tool !== "fill") painter.tool = "brush";
  show();
}

function use(tool) {
  painter.tool = tool;
  // The cursor of a tool that paints no stroke is the system's.
  view.cursor = null;
  show();
}

function widen(step) {
  const width = painter.width + step * Math.max(1, Math.round(painter.width / 6));
  painter.width = Math.min(Number(get("width").max), Math.max(1, width));
  show();
}

async function open(picture) {
  if (!(await saving.flush())) return;
  try {
    const [image, { mask, seen }] = await Promise.all([source.picture(picture.name), source.mask(picture.name)]);
    current = Object.assign(picture, { seen, painted_px: countPainted(mask) });
    painter.regions = null;
    painter.open(mask, Boolean(picture.other_file));
    view.show(image);
  } catch (error) {
    tell(error.message, "problem");
    return;
  }
  get("saved").classList.remove("unsaved");
  get("saved").textContent = picture.seen ? `saved in masks/${picture.name}.png` : "";
  const locked = `painted in ${picture.other_file}; remove that file to paint it here`;
  tell(picture.other_file ? locked : guide(), picture.other_file ? "problem" : "");
  get("canvas").dataset.name = picture.name;
  if (!picture.painted_px) telling(suggest)(); // not waited for: one may paint meanwhile
  await snap(get("snap").value);
}

function guide() {
  const rest = facts.fewest_painted - facts.pictures.filter((picture) => picture.painted_px).length;
  if (rest <= 0) return "";
  return `Paint the background, too: what is not painted is ignored. Suggestions come after ${rest} more.`;
}

async function snap(size) {
  const picture = current;
  get("snap").value = size;
  const ids = size ? await source.superpixels(picture.name, size) : null;
  if (picture !== current) return;
  painter.regions = ids && regionsOf(ids);
  show();
}

async function suggest() {
  const picture = current;
  if (picture.other_file) return;
  const found = await source.suggestion(picture.name);
  if (picture !== current) return;
  if (!found) return;
  if (!painter.mask.includes(OPEN)) {
    tell("Every pixel is painted; erase some to see what is suggested there.");
    return;
  }
  painter.suggest(found);
  tell("Hatched: suggested from the painted pictures. Paint over what is wrong, Enter accepts the rest.");
}

async function findNext() {
  const order = await source.order();
  list.next = order[0] ?? null;
  list.show(current);
  return order.find((name) => name !== current?.name) ?? null;
}

async function openNext() {
  if (!(await saving.flush())) return;
  clearTimeout(learning);
  const name = await findNext();
  if (name) await open(facts.pictures.find((picture) => picture.name === name));
  else tell("Every picture is painted.");
}

function openPrevious() {
  const { pictures } = facts;
  const place = pictures.indexOf(current);
  return open(pictures[(place + pictures.length - 1) % pictures.length]);
}

const telling = (act) => () => Promise.resolve(act()).catch((error) => tell(error.message, "problem"));
const actions = {
  undo: () => painter.undo(),
  redo: () => painter.redo(),
  help: () => get("keys").showModal(),
  larger: () => view.enlarge(1.5),
  smaller: () => view.enlarge(1 / 1.5),
  whole: () => view.fit(),
  hide: () => {
    view.isHidden = !view.isHidden;
    show();
  },
  accept: () => painter.accept(),
  discard: () => painter.suggest(null),
  suggest: telling(suggest),
  previous: telling(openPrevious),
  next: telling(openNext),
};
for (const [id, act] of Object.entries(actions)) get(id).addEventListener("click", act);
for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => use(button.dataset.tool));
}
get("width").addEventListener("input", (event) => {
  painter.width = Number(event.target.value);
  show();
});
get("opacity").addEventListener("input", (event) => {
  view.opacity = event.target.value / 100;
  show();
});
get("snap").addEventListener("change", (event) => telling(() => snap(event.target.value))());
get("theirs").addEventListener("click", () => {
  saving.drop();
  telling(() => open(current))();
});
get("mine").addEventListener("click", telling(async () => {
  // Over exactly what is on disk now; another change meanwhile asks again.
  current.seen = (await source.mask(current.name)).seen;
  saving.later(current, painter.mask);
}));

const letters = {
  b: () => use("brush"),
  f: () => use("fill"),
  e: () => use("erase"),
  t: () => use("take"),
  h: () => use("hand"),
  s: telling(() => snap(SNAPS[(SNAPS.indexOf(get("snap").value) + 1) % SNAPS.length])),
  "[": () => widen(-1),
  "]": () => widen(1),
  "+": actions.larger,
  "=": actions.larger,
  "-": actions.smaller,
  w: actions.whole,
  o: actions.hide,
  g: actions.suggest,
  Enter: actions.accept,
  Escape: actions.discard,
  n: actions.next,
  p: actions.previous,
  ArrowLeft: () => view.move(STEP_DOTS, 0),
  ArrowRight: () => view.move(-STEP_DOTS, 0),
  ArrowUp: () => view.move(0, STEP_DOTS),
  ArrowDown: () => view.move(0, -STEP_DOTS),
  "?": actions.help,
};
const withControl = { z: actions.undo, y: actions.redo, Z: actions.redo, s: () => saving.flush() };

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const isControl = event.ctrlKey || event.metaKey;
  const isControlled = event.target.closest("input, select, button");
  const isNative = isControlled && /^(Arrow|Enter| )/.test(event.key);
  const value = palette.valueOf(event.key);
  const pick = value === undefined ? letters[event.key] : () => choose(value);
  const act = isControl ? withControl[event.key] : !isNative && pick;
  if (!act || event.altKey) return;
  event.preventDefault();
  act();
});

const first = facts.pictures.find((picture) => !picture.painted_px) ?? facts.pictures[0];
await open(first);
document.body.dataset.ready = "yes";

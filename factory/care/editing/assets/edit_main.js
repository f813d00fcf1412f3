// Opens the page of edits: the canvas, tools, keys, the search and what came of it.

import { Result } from "edit/result";
import { Search } from "edit/search";
import { Source } from "edit/edit_source";
import { Gestures } from "paint/gestures";
import { covered, isClass, OPEN, regionsOf } from "paint/mask";
import { get, tell } from "paint/page";
import { Painter } from "paint/painter";
import { Palette } from "paint/palette";
import { View } from "paint/view";

const STEP_DOTS = 60;
const SNAPS = ["", "fine", "coarse"];
const RATES = [0.01, 0.03, 0.1, 0.3];

const source = new Source();
const facts = await source.facts().catch((error) => {
  tell(error.message, "problem");
  throw error;
});
get("name").textContent = `edit ${facts.key}`;
document.title = `edit ${facts.key}`;
get("width").max = Math.max(12, Math.round(facts.side / 4));
get("steps").max = Math.max(200, facts.steps);
get("steps").step = facts.steps % 5 ? 1 : 5;
get("steps").min = get("steps").step;
get("steps").value = facts.steps;
for (const rate of [...new Set([...RATES, facts.learning_rate])].sort((one, other) => one - other)) {
  get("rate").append(new Option(String(rate), String(rate)));
}
get("rate").value = String(facts.learning_rate);

const colours = facts.classes.map(({ colour }) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16)));
const view = new View(get("canvas"), facts.side, colours);
const palette = new Palette(facts.classes, (value) => choose(value), { name: "as it was", value: OPEN, colour: "none" });
const result = new Result(facts.side, colours);
let showsClasses = true;
let before = null;

const painter = new Painter(facts.side, { onChange: show, onEdit: () => null });
const search = new Search(source, {
  onProgress: ({ done, steps, iou, state }) => {
    get("bar").max = steps;
    get("bar").value = done;
    if (state === "running") tell(`Step ${done} of ${steps}; IoU with the wanted mask ${iou.toFixed(3)}`);
  },
  onEnd: (found) => {
    tell(found ? "" : "Stopped.");
    show();
    if (found && matchMedia("(max-width: 820px)").matches) get("result").scrollIntoView({ block: "end" });
  },
});
new Gestures(view, {
  start: (place) => painter.tool !== "hand" && painter.start(place),
  draw: (place) => painter.draw(place),
  end: () => painter.end(),
  cancel: () => painter.cancel(),
  width: () => (["brush", "erase"].includes(painter.tool) ? painter.width : 0),
});

const hasChange = () => painter.mask?.some((value, pixel) => isClass(value) && value !== before.mask[pixel]) ?? false;

function show() {
  const { mask } = painter;
  view.regions = painter.regions;
  if (mask && before) {
    view.load(mask, showsClasses ? before.mask : null);
    const wanted = covered(mask, before.mask);
    palette.show(painter.value, wanted);
    // A stroke that is still drawn has no result yet: asking at each of its points would be slow.
    if (!painter.stroke) showResult(mask, wanted);
  }
  for (const button of document.querySelectorAll("[data-tool]")) {
    button.setAttribute("aria-checked", String(button.dataset.tool === painter.tool));
  }
  get("canvas").dataset.tool = painter.tool;
  get("canvas").dataset.snap = painter.regions ? get("snap").value : "";
  get("width").value = painter.width;
  get("width-px").textContent = `${painter.width} px`;
  get("steps-count").textContent = get("steps").value;
  get("undo").disabled = !painter.history?.past.length;
  get("redo").disabled = !painter.history?.future.length;
  get("hide").setAttribute("aria-pressed", String(view.isHidden));
  get("hatch").setAttribute("aria-pressed", String(showsClasses));
}

function showResult(mask, wanted) {
  const found = search.of(mask);
  result.showWanted(wanted);
  result.showAfter(found ?? search.latest, !found && Boolean(search.latest));
  get("apply").disabled = search.isRunning || !hasChange();
  get("stop").disabled = !search.isRunning;
  get("save").disabled = search.isRunning || !found;
  get("saved").classList.toggle("unsaved", Boolean(found) && !found.isSaved);
  get("saved").textContent = found ? (found.isSaved ? `saved in ${facts.folder}` : "not saved yet") : "";
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

async function snap(size) {
  get("snap").value = size;
  const ids = size ? await source.superpixels("", size) : null;
  if (get("snap").value !== size) return;
  painter.regions = ids && regionsOf(ids);
  show();
}

async function apply() {
  if (!hasChange()) {
    tell("Nothing is painted that is not there already.");
    return;
  }
  const running = search.apply(painter.mask, get("steps").value, get("rate").value);
  show();
  await running;
}

async function save() {
  const found = search.of(painter.mask);
  if (!found) {
    tell("Apply what is painted, then save the pair.");
    return;
  }
  const files = await source.save(found.run);
  found.isSaved = true;
  tell(`${files.length} files are saved in ${facts.folder}.`);
  show();
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
  hatch: () => {
    showsClasses = !showsClasses;
    show();
  },
  apply: telling(apply),
  stop: telling(() => source.stop()),
  save: telling(save),
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
get("steps").addEventListener("input", show);
get("snap").addEventListener("change", (event) => telling(() => snap(event.target.value))());
window.addEventListener("beforeunload", (event) => {
  if (search.latest && !search.latest.isSaved) event.preventDefault();
});

const letters = {
  b: () => use("brush"),
  f: () => use("fill"),
  e: () => use("erase"),
  h: () => use("hand"),
  s: telling(() => snap(SNAPS[(SNAPS.indexOf(get("snap").value) + 1) % SNAPS.length])),
  "[": () => widen(-1),
  "]": () => widen(1),
  "+": actions.larger,
  "=": actions.larger,
  "-": actions.smaller,
  w: actions.whole,
  o: actions.hide,
  c: actions.hatch,
  Enter: actions.apply,
  Escape: actions.stop,
  ArrowLeft: () => view.move(STEP_DOTS, 0),
  ArrowRight: () => view.move(-STEP_DOTS, 0),
  ArrowUp: () => view.move(0, STEP_DOTS),
  ArrowDown: () => view.move(0, -STEP_DOTS),
  "?": actions.help,
};
const withControl = { z: actions.undo, y: actions.redo, Z: actions.redo, s: actions.save };

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

try {
  before = await source.before();
  painter.suggestion = before.mask;
  result.showBefore(before);
  view.show(before.image);
  painter.open(new Uint8Array(before.mask.length).fill(OPEN), false);
  painter.suggest(before.mask); // what fill looks at where nothing is painted
} catch (error) {
  tell(error.message, "problem");
}
document.body.dataset.ready = "yes";

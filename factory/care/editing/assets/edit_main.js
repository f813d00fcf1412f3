// Opens the page of edits: the canvas, tools, keys, the search and what came of it.

import { Result } from "edit/result";
import { Search } from "edit/search";
import { Source } from "edit/edit_source";
import { covered, isClass, OPEN } from "paint/mask";
import { get, tell } from "paint/page";
import { telling, Tools } from "paint/tools";

const RATES = [0.01, 0.03, 0.1, 0.3];

const source = new Source();
const facts = await source.facts().catch((error) => {
  tell(error.message, "problem");
  throw error;
});
get("name").textContent = `edit ${facts.key}`;
document.title = `edit ${facts.key}`;
get("steps").max = Math.max(200, facts.steps);
get("steps").step = facts.steps % 5 ? 1 : 5;
get("steps").min = get("steps").step;
get("steps").value = facts.steps;
for (const rate of [...new Set([...RATES, facts.learning_rate])].sort((one, other) => one - other)) {
  get("rate").append(new Option(String(rate), String(rate)));
}
get("rate").value = String(facts.learning_rate);

const tools = new Tools(facts, source, {
  onShow: show,
  onEdit: () => null,
  nameOf: () => facts.key,
  unpainted: { name: "as it was", value: OPEN, colour: "none" },
});
const { painter, palette, view } = tools;
const result = new Result(facts.side, tools.colours);
let showsClasses = true;
let before = null;

const search = new Search(source, {
  onProgress: ({ done, steps, iou, state }) => {
    get("bar").max = steps;
    get("bar").value = done;
    if (state === "running") tell(`Step ${done} of ${steps}; IoU with the wanted mask ${iou.toFixed(3)}`);
  },
  onEnd: (found) => {
    tell(found ? "" : "Stopped.");
    tools.show();
    if (found && matchMedia("(max-width: 820px)").matches) get("result").scrollIntoView({ block: "end" });
  },
});
const hasChange = () => painter.mask?.some((value, pixel) => isClass(value) && value !== before.mask[pixel]) ?? false;

function show() {
  const { mask } = painter;
  if (mask && before) {
    view.load(mask, showsClasses ? before.mask : null);
    const wanted = covered(mask, before.mask);
    palette.show(painter.value, wanted);
    // A stroke that is still drawn has no result yet: asking at each of its points would be slow.
    if (!painter.stroke) showResult(mask, wanted);
  }
  get("steps-count").textContent = get("steps").value;
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

async function apply() {
  if (!hasChange()) {
    tell("Nothing is painted that is not there already.");
    return;
  }
  const running = search.apply(painter.mask, get("steps").value, get("rate").value);
  tools.show();
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
  tools.show();
}

const hatch = () => {
  showsClasses = !showsClasses;
  tools.show();
};
tools.listen(
  { hatch, apply: telling(apply), stop: telling(() => source.stop()), save: telling(save) },
  { c: hatch, Enter: telling(apply), Escape: telling(() => source.stop()) },
  { s: telling(save) },
);
get("steps").addEventListener("input", show);
window.addEventListener("beforeunload", (event) => {
  if (search.latest && !search.latest.isSaved) event.preventDefault();
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

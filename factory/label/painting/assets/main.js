// Opens the page: the list, the canvas, tools, keys, saving and suggestions.

import { List } from "paint/list";
import { countPainted, OPEN } from "paint/mask";
import { get, tell } from "paint/page";
import { Saving } from "paint/saving";
import { Source } from "paint/source";
import { telling, Tools } from "paint/tools";

const LEARN_MS = 1500;

const source = new Source();
const facts = await source.facts().catch((error) => {
  tell(error.message, "problem");
  throw error;
});
get("name").textContent = facts.name;
document.title = `${facts.name}: pictures to paint`;

const list = new List(facts, source, (picture) => open(picture));
let current = null;
let learning = null;

const tools = new Tools(facts, source, {
  onShow: show,
  onEdit: (mask) => saving.later(current, mask),
  nameOf: () => current.name,
});
const { painter, palette, view } = tools;
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

function show() {
  if (painter.mask) view.load(painter.mask, painter.suggestion);
  palette.show(painter.value, painter.mask);
  get("canvas").dataset.suggested = String(Boolean(painter.suggestion));
  get("accept").disabled = get("discard").disabled = !painter.suggestion;
  list.show(current);
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
  await tools.snap(get("snap").value);
}

function guide() {
  const rest = facts.fewest_painted - facts.pictures.filter((picture) => picture.painted_px).length;
  if (rest <= 0) return "";
  return `Paint the background, too: what is not painted is ignored. Suggestions come after ${rest} more.`;
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

tools.listen(
  {
    accept: () => painter.accept(),
    discard: () => painter.suggest(null),
    suggest: telling(suggest),
    previous: telling(openPrevious),
    next: telling(openNext),
  },
  {
    t: () => tools.use("take"),
    g: telling(suggest),
    Enter: () => painter.accept(),
    Escape: () => painter.suggest(null),
    n: telling(openNext),
    p: telling(openPrevious),
  },
  { s: () => saving.flush() },
);
get("theirs").addEventListener("click", () => {
  saving.drop();
  telling(() => open(current))();
});
get("mine").addEventListener("click", telling(async () => {
  // Over exactly what is on disk now; another change meanwhile asks again.
  current.seen = (await source.mask(current.name)).seen;
  saving.later(current, painter.mask);
}));

const first = facts.pictures.find((picture) => !picture.painted_px) ?? facts.pictures[0];
await open(first);
document.body.dataset.ready = "yes";

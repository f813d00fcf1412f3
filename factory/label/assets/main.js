// Opens the page: facts first, then the desk, the keyboard and saving.

import { Desk, get } from "label/desk";
import { Review } from "label/review";
import { Saving } from "label/saving";
import { openSource } from "label/source";

const source = await openSource().catch((error) => {
  get("news").textContent = error.message;
  get("news").className = "problem";
  throw error;
});
document.body.classList.toggle("kept", !source.canEdit);
document.body.classList.toggle("still", !source.canLook);
get("name").textContent = source.facts.name;
const saving = new Saving(source);
const desk = new Desk(source, await saving.load());
saving.watch(desk);

const selected = (act) => () => desk.chosen !== null && act(desk.chosen);
const { split, close, name, mark, look } = desk.answers();
const actions = {
  split: selected(split),
  close: selected(close),
  join: () => desk.join(),
  look: selected(look),
  undo: () => desk.undo(),
  redo: () => desk.redo(),
  save: () => saving.save(),
  help: () => get("keys").showModal(),
};
for (const [id, act] of Object.entries(actions)) get(id).addEventListener("click", act);

const letters = {
  s: actions.split,
  m: actions.close,
  x: selected(mark),
  j: actions.join,
  v: actions.look,
  n: selected(name),
  Enter: selected(name),
  c: selected((key) => source.canEdit && desk.list.focusColour(key)),
  o: () => desk.setOpacity(desk.pictures.opacity ? 0 : 0.5),
  "[": () => desk.slide(desk.state.cut.length - 1),
  "]": () => desk.slide(desk.state.cut.length + 1),
  ArrowUp: () => desk.step(-1),
  ArrowDown: () => desk.step(1),
  Escape: () => desk.choose(null),
  "?": actions.help,
};
const withControl = { s: actions.save, z: actions.undo, y: actions.redo, Z: actions.redo };

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
  const isControl = event.ctrlKey || event.metaKey;
  // A dialog just closed keeps the focus on its button until the browser next draws.
  const isControlled = event.target.closest(":not(dialog button):is(input, button, select)");
  const isTyping = event.target.matches('input[type="text"]');
  const isNative = isControlled && (isTyping || /^(Arrow|Enter)/.test(event.key));
  const act = isControl ? withControl[event.key] : !isNative && letters[event.key];
  if (!act || event.altKey) return;
  event.preventDefault();
  act();
});
if (source.facts.reviewer) {
  get("saved").textContent = `review by ${source.facts.reviewer}`;
  if (saving.isNew) desk.tell(saving.problem || "There are no names to review yet: name the classes first.", "problem");
  else new Review(source, desk.closer, desk.tree).start(saving.found);
}
document.body.dataset.ready = "yes";

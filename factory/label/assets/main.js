// Opens the page: facts first, then the editor, the keyboard and saving.

import { Editor, get } from "label/editor";
import { Review } from "label/review";
import { Saving } from "label/saving";
import { openSource } from "label/source";

const source = await openSource().catch((error) => {
  get("news").textContent = error.message;
  get("news").className = "problem";
  throw error;
});
document.body.classList.toggle("kept", !source.canEdit);
document.body.classList.toggle("still", source.isKept === true);
document.body.classList.toggle("distant", !source.canLook);
get("name").textContent = source.facts.name;
const saving = new Saving(source);
const editor = new Editor(source, await saving.load());
saving.watch(editor);

const selected = (act) => () => editor.chosen !== null && act(editor.chosen);
const { split, close, name, mark, look } = editor.answers();
const actions = {
  split: selected(split),
  close: selected(close),
  join: () => editor.join(),
  look: selected(look),
  undo: () => editor.undo(),
  redo: () => editor.redo(),
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
  c: selected((key) => source.canEdit && editor.list.focusColour(key)),
  o: () => editor.setOpacity(editor.pictures.opacity ? 0 : 0.5),
  "[": () => editor.slide(editor.state.cut.length - 1),
  "]": () => editor.slide(editor.state.cut.length + 1),
  ArrowUp: () => editor.step(-1),
  ArrowDown: () => editor.step(1),
  "+": () => editor.enlarge(editor.enlarged + 1),
  "-": () => editor.enlarge(editor.enlarged - 1),
  PageUp: () => source.isKept || editor.turnTo(editor.first - source.facts.images.length),
  PageDown: () => source.isKept || editor.turnTo(editor.first + source.facts.images.length),
  Escape: () => editor.choose(null),
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
  if (saving.isNew) editor.showMessage(saving.problem || "There are no names to review yet: name the classes first.", "problem");
  else new Review(source, editor.closer, editor.tree).start(saving.found);
}
document.body.dataset.ready = "yes";

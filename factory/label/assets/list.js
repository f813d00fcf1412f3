// The classes: a line each, with a mark for joining, a colour, a name and a share of the pixels.

import { tidy } from "label/naming";

export class ClassList {
  constructor(place, on, canEdit) {
    Object.assign(this, { place, on, canEdit, lines: new Map() });
  }

  show({ classes, chosen, highlighted, marked, shares, warnings }) {
    const gone = new Map(this.lines);
    classes.forEach((found, id) => {
      const line = this.lines.get(found.key) ?? this.line(found.key);
      gone.delete(found.key);
      this.lines.set(found.key, line);
      if (this.place.children[id] !== line) this.place.insertBefore(line, this.place.children[id]);
      line.classList.toggle("chosen", found.key === chosen);
      line.classList.toggle("highlighted", found.key === highlighted);
      this.fill(line, found, marked.has(found.key), shares?.[id]);
      this.warn(line, found, warnings?.[id] ?? []);
    });
    for (const [key, line] of gone) {
      line.remove();
      this.lines.delete(key);
    }
  }

  fill(line, found, isMarked, share) {
    const { mark, colour, name, id, part } = line.parts;
    mark.checked = isMarked;
    mark.ariaLabel = `mark ${found.name} for joining`;
    colour.value = found.colour;
    colour.ariaLabel = `colour of ${found.name}`;
    const own = found.isNamed ? found.name : "";
    if (tidy(name.value) !== own) name.value = own; // what is being typed may end in a space
    name.placeholder = found.plainName;
    name.ariaLabel = `name of ${found.plainName}`;
    id.textContent = found.id;
    part.textContent = share === undefined ? "" : `${(100 * share).toFixed(1)} %`;
  }

  warn(line, { name }, warnings) {
    const { warning } = line.parts;
    warning.hidden = !warnings.length;
    warning.title = warnings.join("\n");
    warning.ariaLabel = `${warnings.length} warnings about ${name}: look closer`;
  }

  line(key) {
    const line = document.createElement("li");
    line.dataset.key = key;
    const input = (type) => Object.assign(document.createElement("input"), { type, disabled: !this.canEdit });
    const parts = {
      id: Object.assign(document.createElement("span"), { className: "id", title: "value in the masks" }),
      mark: input("checkbox"),
      colour: input("color"),
      name: Object.assign(input("text"), { maxLength: 60, spellcheck: false, autocomplete: "off" }),
      warning: Object.assign(document.createElement("button"), { className: "warning", textContent: "⚠", hidden: true }),
      part: Object.assign(document.createElement("span"), { className: "share" }),
    };
    line.parts = parts;
    line.append(...Object.values(parts));
    line.addEventListener("pointerenter", () => this.on.hover(key));
    line.addEventListener("pointerleave", () => this.on.hover(null));
    line.addEventListener("click", () => this.on.choose(key));
    parts.warning.addEventListener("click", () => this.on.look(key));
    line.addEventListener("dblclick", (event) => event.target.matches("input") || this.on.look(key));
    parts.name.addEventListener("focus", () => this.on.choose(key));
    parts.mark.addEventListener("change", () => this.on.mark(key));
    parts.colour.addEventListener("input", () => this.on.recolour(key, parts.colour.value));
    parts.name.addEventListener("input", () => this.on.rename(key, parts.name.value));
    parts.name.addEventListener("blur", () => (parts.name.value = tidy(parts.name.value)));
    parts.name.addEventListener("keydown", (event) => this.move(event, line));
    return line;
  }

  // Enter and the arrows go from name to name.
  move(event, line) {
    const step = { Enter: 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") line.parts.name.blur();
    if (!step) return;
    event.preventDefault();
    const lines = [...this.place.children];
    lines[lines.indexOf(line) + step]?.parts.name.focus();
  }

  focusName(key) {
    const { name } = this.lines.get(key).parts;
    name.focus();
    name.select();
  }

  focusColour(key) {
    const { colour } = this.lines.get(key).parts;
    colour.focus();
    colour.showPicker?.();
  }
}

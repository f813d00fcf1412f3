// What is saved, what is not, and what to do if somebody else changed the file.

import { get } from "label/editor";
import { changes } from "label/naming";
import { listDisputes } from "label/review";

export class Saving {
  constructor(source) {
    this.source = source;
    this.title = `${source.facts.name}: names for clusters`;
  }

  // The labels of the file; null if there is none, or the page is not to change it.
  async load() {
    if (this.source.isKept) return null;
    this.found = await this.source.labels();
    const { labels, seen, problem } = this.found;
    Object.assign(this, { seen, isNew: labels === null, problem });
    return labels;
  }

  watch(editor) {
    this.editor = editor;
    if (!this.source.canEdit) {
      document.title = this.title;
      return;
    }
    editor.onShow = () => this.show();
    this.show();
    if (this.problem) editor.showMessage(this.problem, "problem");
    window.addEventListener("beforeunload", (event) => editor.isUnsaved && event.preventDefault());
    get("theirs").addEventListener("click", () => this.takeTheirs());
    get("mine").addEventListener("click", () => this.keepMine());
    this.showDisputes();
  }

  showDisputes() {
    listDisputes(this.found.disputes, {
      look: ({ node }) => this.editor.lookAtNode(node),
      take: ({ node, proposed }) => this.editor.giveAway(node, proposed),
      keep: (dispute) => this.keep(dispute),
    });
  }

  // Said to the file at once, as reviews are: it is about the names that are saved there.
  async keep({ node, given }) {
    try {
      const before = this.seen;
      const { seen } = await this.source.review([{ node, given, verdict: "kept" }], before);
      this.seen = seen;
      this.found = await this.source.labels();
      this.showDisputes();
    } catch (error) {
      this.editor.showMessage(`Not saved: ${error.message}`, "problem");
    }
  }

  show() {
    const { isUnsaved, kept, labels } = this.editor;
    document.title = `${isUnsaved ? "● " : ""}${this.title}`;
    const file = this.source.facts.labels_file;
    const quiet = this.isNew ? `nothing saved yet; Save writes ${file}` : `saved in ${file}`;
    get("saved").textContent = isUnsaved ? `● not saved: ${changes(kept, labels)}` : quiet;
    get("saved").classList.toggle("unsaved", isUnsaved);
    get("save").classList.toggle("unsaved", isUnsaved);
  }

  async save() {
    const { editor, source } = this;
    const { labels } = editor;
    try {
      const { seen } = await source.save(labels, this.seen);
      Object.assign(this, { seen, isNew: false });
      editor.kept = labels;
      this.found = await source.labels();
      this.showDisputes();
      editor.showMessage(`Saved ${labels.length} classes at ${new Date().toLocaleTimeString()}.`);
    } catch (error) {
      if (error.status === 409) get("conflict").showModal();
      else editor.showMessage(`Not saved: ${error.message}`, "problem");
    }
    this.show();
  }

  async takeTheirs() {
    this.editor.start(await this.load());
    this.editor.shown = null;
    this.showDisputes();
    this.editor.showMessage("Loaded the file as it is on disk.");
    this.editor.update();
  }

  // Overwrite exactly what is on disk now; another change meanwhile asks again.
  async keepMine() {
    this.seen = (await this.source.labels()).seen;
    await this.save();
  }
}

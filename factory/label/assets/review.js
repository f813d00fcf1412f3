// A second person goes over named nodes: confirm or dispute each. And the namer settles disputes.

import { splitOff } from "label/closer";
import { get } from "label/editor";

export class Review {
  constructor(source, closer, tree) {
    Object.assign(this, { source, closer, tree, who: source.facts.reviewer });
  }

  // One item for each node of each class, seen with the rest of its class as another.
  start({ labels, reviews, seen }) {
    this.seen = seen;
    this.names = labels.map(({ name }) => name);
    this.items = labels.flatMap(({ nodes, name, colour }, at) => nodes.map((node) => {
      const rest = nodes.filter((other) => other !== node);
      const classes = splitOff(labels, at, node, rest, { name: `${node}: ${name}?`, colour });
      return { node, given: name, classes, at, verdict: null };
    }));
    for (const { who, node, given, verdict, proposed } of reviews) {
      const item = this.items.find((one) => one.node === node && one.given === given);
      if (item && who === this.who) item.verdict = { verdict, proposed };
    }
    get("verdict").hidden = false;
    get("proposals").replaceChildren(...this.names.map((name) => new Option(name)));
    get("confirm").addEventListener("click", () => this.say("confirmed"));
    get("dispute").addEventListener("click", () => this.dispute());
    get("proposed").addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      this.dispute();
    });
    this.closer.moreKeys = { y: () => this.say("confirmed"), d: () => get("proposed").focus() };
    this.closer.step = (by) => this.go(this.place + by);
    const first = this.items.findIndex(({ verdict }) => !verdict);
    this.go(Math.max(0, first));
  }

  go(place) {
    this.place = (place + this.items.length) % this.items.length;
    const item = this.items[this.place];
    get("proposed").value = item.verdict?.proposed ?? "";
    this.show();
    this.closer.open(item.classes, item.at);
  }

  show() {
    const item = this.items[this.place];
    const said = { confirmed: "you confirmed it", disputed: `you said ${item.verdict?.proposed}` };
    const done = this.items.filter(({ verdict }) => verdict).length;
    const disputed = this.items.filter(({ verdict }) => verdict?.verdict === "disputed").length;
    get("given").textContent = `node ${item.node} is named ${item.given}`;
    get("said").textContent = item.verdict ? said[item.verdict.verdict] : "no verdict yet";
    get("reviewed").textContent =
      `${this.place + 1} of ${this.items.length} · ${done} looked at, ${disputed} disputed`;
  }

  dispute() {
    const proposed = get("proposed").value.trim().replaceAll(/\s+/g, " ");
    if (!proposed) get("proposed").focus();
    else this.say("disputed", proposed);
  }

  async say(verdict, proposed = undefined) {
    const item = this.items[this.place];
    const words = { node: item.node, given: item.given, verdict, proposed };
    get("review-news").textContent = "";
    try {
      this.seen = (await this.source.review([words], this.seen)).seen;
    } catch (error) {
      get("review-news").textContent = `Not saved: ${error.message}`;
      if (error.status === 409) this.seen = (await this.source.labels()).seen; // verdicts only add
      return;
    }
    item.verdict = { verdict, proposed };
    if (this.items.every((one) => one.verdict)) get("review-news").textContent = "All nodes are looked at.";
    this.go(this.place + 1);
  }
}

// The disputes that nobody has settled, each with two ways to settle it.
export function listDisputes(disputes, { look, take, keep }) {
  get("disputes").hidden = !disputes.length;
  get("disputes").replaceChildren(...disputes.map((dispute) => {
    const { node, given, proposed, who, when } = dispute;
    const line = document.createElement("li");
    const button = (text, act) => {
      const found = Object.assign(document.createElement("button"), { textContent: text });
      found.addEventListener("click", () => act(dispute));
      return found;
    };
    const text = document.createElement("span");
    text.textContent = `⚠ ${who} (${when.slice(0, 10)}): node ${node} is ${proposed}, not ${given}`;
    line.append(text, button("Look", look), button(`Take ${proposed}`, take), button(`Keep ${given}`, keep));
    return line;
  }));
}

// Where the page's facts and masks come from: the server that opened it, or the file it stands in.

export const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export async function openSource() {
  const kept = document.getElementById("facts");
  return kept ? new KeptSource(JSON.parse(kept.textContent)) : LiveSource.open();
}

class KeptSource {
  constructor(facts) {
    this.facts = facts;
    this.canEdit = false;
    this.canLook = Boolean(facts.closer);
    this.isKept = true;
  }

  async masks(cut) {
    return inflated(this.facts.masks[cut.length]);
  }

  // Figures of whole cuts alone: the slider makes no others, and a report cannot measure any.
  async classes(groups) {
    const { nodes, ...cut } = this.cut(groups);
    const places = groups.map(([node]) => nodes.indexOf(node));
    const asHere = (part) => ({ ...part, other: groups.findIndex(([node]) => node === nodes[part.other]) });
    const found = places.map((at) => cut.classes[at]);
    return { ...cut, classes: found.map((one) => ({ ...one, parts: one.parts.map(asHere) })) };
  }

  async closer(groups, at, index) {
    const { nodes, masks } = this.cut(groups);
    const { side, images } = this.facts.closer;
    const both = await inflated(masks[nodes.indexOf(groups[at][0])][index]);
    const pixels = side * side;
    return { image: images[index], side, inside: both.subarray(0, pixels), parts: both.subarray(pixels) };
  }

  cut(groups) {
    const cuts = this.facts.closer.cuts;
    const found = cuts[groups.length];
    if (found && groups.every(([node, ...more]) => !more.length && found.nodes.includes(node))) return found;
    throw new Error(
      `This report looks closer at ${Object.keys(cuts).join(", ")} classes; factory label looks at any.`,
    );
  }
}

class LiveSource {
  static async open() {
    const source = new LiveSource();
    source.token = new URLSearchParams(location.search).get("token");
    source.facts = await (await source.call("facts")).json();
    source.canLook = true;
    source.canEdit = !source.facts.reviewer;
    return source;
  }

  // Twenty samples from number `first` on.
  async samples(first) {
    return (await (await this.call(`samples?from=${first}`)).json()).images;
  }

  async masks(cut, first) {
    return new Uint8Array(await (await this.call(`masks?cut=${cut.join()}&from=${first}`)).arrayBuffer());
  }

  // Figures of classes, each a list of nodes.
  async classes(groups) {
    return (await this.call(`classes?of=${written(groups)}`)).json();
  }

  // One sample at full size, with class `at` and its parts.
  async closer(groups, at, index) {
    const found = await (await this.call(`closer?of=${written(groups)}&at=${at}&index=${index}`)).json();
    return { ...found, inside: bytesOf(found.inside), parts: bytesOf(found.parts) };
  }

  async review(verdicts, seen) {
    const body = JSON.stringify({ verdicts, seen });
    return (await this.call("reviews", { method: "PUT", body })).json();
  }

  async labels() {
    return (await this.call("labels")).json();
  }

  async save(labels, seen) {
    const body = JSON.stringify({ tree: this.facts.tree, labels, seen });
    return (await this.call("labels", { method: "PUT", body })).json();
  }

  // Errors carry the server's words and its status.
  async call(path, options = {}) {
    let answer;
    try {
      answer = await fetch(`/${path}`, { ...options, headers: { Authorization: `Bearer ${this.token}` } });
    } catch {
      throw new Error("no answer: is `factory label` still running?");
    }
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({ error: answer.statusText }));
    throw Object.assign(new Error(error), { status: answer.status });
  }
}

const written = (groups) => groups.map((nodes) => nodes.join(".")).join();

async function inflated(text) {
  const plain = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

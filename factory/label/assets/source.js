// Where the page's facts and masks come from: the server that opened it, or the file it stands in.

export async function openSource() {
  const kept = document.getElementById("facts");
  return kept ? new KeptSource(JSON.parse(kept.textContent)) : LiveSource.open();
}

class KeptSource {
  constructor(facts) {
    this.facts = facts;
    this.canEdit = this.canLook = false;
  }

  async masks(cut) {
    const packed = Uint8Array.from(atob(this.facts.masks[cut.length]), (c) => c.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(plain).arrayBuffer());
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

  async masks(cut) {
    return new Uint8Array(await (await this.call(`masks?cut=${cut.join()}`)).arrayBuffer());
  }

  // Figures of classes, each a list of nodes.
  async classes(groups) {
    return (await this.call(`classes?of=${written(groups)}`)).json();
  }

  // One sample at full size, with class `at` and its parts.
  async closer(groups, at, index) {
    return (await this.call(`closer?of=${written(groups)}&at=${at}&index=${index}`)).json();
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

// What the page asks its server for. The token is in the page's address.

export class Source {
  // `command` is what started the server.
  constructor(command = "factory paint") {
    this.command = command;
    this.token = new URLSearchParams(location.search).get("token");
  }

  async facts() {
    return (await this.call("facts")).json();
  }

  async picture(name) {
    return createImageBitmap(await (await this.call(`picture?name=${name}`)).blob());
  }

  async small(name) {
    return createImageBitmap(await (await this.call(`small?name=${name}`)).blob());
  }

  // The mask, and the digest of the file that it stands in.
  async mask(name) {
    const answer = await this.call(`mask?name=${name}`);
    return { mask: new Uint8Array(await answer.arrayBuffer()), seen: answer.headers.get("seen") };
  }

  // Numbers of superpixels, by pixel.
  async superpixels(name, size) {
    const answer = await this.call(`superpixels?name=${name}&size=${size}`);
    const view = new DataView(await answer.arrayBuffer());
    return Uint16Array.from({ length: view.byteLength / 2 }, (_, place) => view.getUint16(2 * place, true));
  }

  // A mask that a head suggests; null while too little is painted.
  async suggestion(name) {
    const answer = await this.call(`suggestion?name=${name}`);
    return answer.status === 204 ? null : new Uint8Array(await answer.arrayBuffer());
  }

  // Pictures without paint, the one that helps most first.
  async order() {
    return (await (await this.call("next")).json()).order;
  }

  async save(name, bytes, seen) {
    const answer = await this.call(`mask?name=${name}&seen=${seen}`, { method: "PUT", body: bytes });
    return (await answer.json()).seen;
  }

  // Errors carry the server's words and its status.
  async call(path, options = {}) {
    let answer;
    try {
      answer = await fetch(`/${path}`, { ...options, headers: { Authorization: `Bearer ${this.token}` } });
    } catch {
      throw new Error(`no answer: is \`${this.command}\` still running?`);
    }
    if (answer.ok) return answer;
    const { error } = await answer.json().catch(() => ({ error: answer.statusText }));
    throw Object.assign(new Error(error), { status: answer.status });
  }
}

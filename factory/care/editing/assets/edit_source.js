// What the page asks its server for, beside what every painting page does.

import { Source as PaintSource } from "paint/source";

export class Source extends PaintSource {
  constructor() {
    super("factory edit --page");
  }

  async before() {
    const [image, mask] = await Promise.all([this.call("picture"), this.call("mask")]);
    return { image: await createImageBitmap(await image.blob()), mask: await bytesOf(mask) };
  }

  // Start an edit; its number.
  async edit(bytes, steps, rate) {
    const answer = await this.call(`edit?steps=${steps}&rate=${rate}`, { method: "PUT", body: bytes });
    return (await answer.json()).run;
  }

  async progress() {
    return (await this.call("progress")).json();
  }

  async stop() {
    await this.call("stop", { method: "PUT" });
  }

  async after(run) {
    const [image, mask] = await Promise.all([this.call(`edited?run=${run}`), this.call(`edited_mask?run=${run}`)]);
    return { image: await createImageBitmap(await image.blob()), mask: await bytesOf(mask) };
  }

  async save(run) {
    return (await (await this.call(`save?run=${run}`, { method: "PUT" })).json()).files;
  }

  async superpixels(_, size) {
    return super.superpixels("", size);
  }
}

const bytesOf = async (answer) => new Uint8Array(await answer.arrayBuffer());

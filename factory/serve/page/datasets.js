// The datasets of a folder: their names, and of those on this page what each one's summary says.
"use strict";

const ON_A_PAGE = 20;
const AGAIN_MS = 5000;
let offset = 0;
let lines = [];

function line(name) {
  const link = make("a", { href: `d/${encodeURIComponent(name)}/`, textContent: name });
  const node = make("div", { className: "row" }, make("span", {}, link), bar(0),
    make("span", { className: "count", textContent: "…" }));
  return { name, node };
}

async function fill({ name, node }) {
  const text = node.lastElementChild;
  try {
    const s = await ask(`d/${encodeURIComponent(name)}/v1/summary`);
    const share = s.samples_planned ? s.samples_committed / s.samples_planned : 0;
    node.querySelector("i").style.width = `${Math.min(100, 100 * share)}%`;
    const rate = s.pairs_per_s ? `, ${s.pairs_per_s.toFixed(1)} pairs/s` : "";
    text.textContent = `${s.name}: ${s.state}, ${count(s.samples_committed)} of ${count(s.samples_planned)} pairs${rate}`;
  } catch (error) { text.textContent = error.message; }
}

async function show() {
  try {
    const answer = await ask(`v1/datasets?offset=${offset}&limit=${ON_A_PAGE}`);
    if (answer.names.join("/") !== lines.map((one) => one.name).join("/")) {
      lines = answer.names.map(line);
      $("datasets").replaceChildren(...lines.map((one) => one.node));
    }
    const end = offset + answer.names.length;
    $("page-note").textContent = answer.total ? `${offset + 1} to ${end} of ${count(answer.total)}` : "none";
    $("page-before").disabled = !offset;
    $("page-after").disabled = end >= answer.total;
    $("trouble").hidden = true;
    for (const one of lines) await fill(one);
  } catch (error) {
    $("trouble").textContent = error.message;
    $("trouble").hidden = false;
  }
}

async function follow() {
  await show();
  setTimeout(follow, AGAIN_MS);
}

$("page-before").onclick = () => { offset = Math.max(0, offset - ON_A_PAGE); show(); };
$("page-after").onclick = () => { offset += ON_A_PAGE; show(); };
follow();

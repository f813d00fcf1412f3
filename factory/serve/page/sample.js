// One sample, enlarged: its pictures and facts, the ones before and after it, and whether it is bad.
"use strict";

let currentKey = "";

async function drawSample(key) {
  currentKey = key;
  const facts = await ask(`v1/samples/${encodeURIComponent(key)}`);
  if (currentKey !== key) return;
  const whats = facts.is_edited
    ? ["image", "edited", "overlay", "edited_overlay", "mask", "edited_mask"]
    : ["image", "overlay", "mask"];
  const pictures = whats.map((what) => make("figure", {},
    make("img", { src: `v1/samples/${facts.key}/${what}.png`, alt: `${what} of sample ${facts.key}` }),
    make("figcaption", { textContent: what.replace("_", " ") })));
  const total = facts.width * facts.height;
  const px = Object.entries(facts.class_px).map(([name, n]) => `${name} ${percent(n / total)}`).join(", ");
  const rows = Object.entries({ ...facts, class_px: px }).filter(([name]) => name !== "replay");
  const copy = make("button", { type: "button", textContent: "copy" });
  copy.onclick = async () => { await navigator.clipboard.writeText(facts.replay); copy.textContent = "copied"; };
  $("sample").replaceChildren(
    make("nav", { className: "picks", "aria-label": "Samples" },
      make("a", { href: "#", textContent: "← overview" }),
      make("button", { type: "button", id: "sample-before", textContent: "‹ previous", onclick: () => step(-1) }),
      make("button", { type: "button", id: "sample-after", textContent: "next ›", onclick: () => step(1) }),
      make("button", { type: "button", id: "sample-bad", onclick: () => mark(key) }),
      make("span", { className: "legend", id: "sample-note", role: "status",
        textContent: "Keys: ← and →, b = bad, Escape = overview" })),
    make("section", {}, make("h2", { textContent: `Sample ${facts.key}` }),
      make("div", { className: "pictures" }, ...pictures)),
    make("section", {}, make("h2", { textContent: "Replay this sample" }),
      make("pre", { id: "replay", textContent: facts.replay }), copy),
    make("section", {}, make("h2", { textContent: "Facts" }), make("table", {}, make("tbody", {},
      ...rows.map(([name, value]) => make("tr", {},
        make("th", { scope: "row", textContent: name.replaceAll("_", " ") }),
        make("td", { textContent: value === "" ? "–" : String(value) })))))));
  showMark(key);
}

async function step(direction) {
  const from = currentKey;
  try {
    const key = await neighbour(from, direction);
    if (currentKey !== from) return;
    if (key) location.hash = `#sample/${key}`;
    else $("sample-note").textContent = direction > 0 ? "this is the last one" : "this is the first one";
  } catch (error) { trouble(error); }
}

function mark(key) {
  toggleBad(key);
  showMark(key);
}

function showMark(key) {
  const isBad = badKeys().has(key);
  $("sample-bad").textContent = isBad ? "marked as bad" : "mark as bad";
  $("sample-bad").setAttribute("aria-pressed", String(isBad));
}

addEventListener("keydown", (event) => {
  if ($("sample").hidden || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "ArrowLeft") step(-1);
  else if (event.key === "ArrowRight") step(1);
  else if (event.key === "Escape") location.hash = "";
  else if (event.key === "b" && currentKey) mark(currentKey);
});

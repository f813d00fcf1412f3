// The gallery: picks, and all samples by filter, a page at a time; and the list of bad samples, which is
// kept in this browser: the service writes nothing.
"use strict";

let pick = { pick: "latest" };
let filter = { order: "ascending" };
let pages = [""];  // `from_key` of each page up to the one that is shown; "" = from the start
let shownTiles = [];
let nextKey = "";
let drawing = 0;
let datasetId = "";
const MOST_REQUESTS = 8;  // for one page, before a person is asked whether to search on

const isBrowsing = () => pick.pick === "all";

function drawPicks(classes, generatorClasses) {
  const options = [["latest", { pick: "latest" }], ["least confident", { pick: "least_confident" }],
    ...classes.map((k) => [`most ${k.name}`, { pick: "class", mask_class: k.id }]), ["all, by filter", { pick: "all" }]];
  const texts = options.map(([text]) => text).join();
  if ($("picks").dataset.texts !== texts) {  // buttons that stay keep the keyboard's focus
    $("picks").dataset.texts = texts;
    $("picks").replaceChildren(...options.map(([text, choice]) => make("button", {
      type: "button", textContent: text,
      onclick: () => { pick = choice; pages = [""]; drawPicks(classes, generatorClasses); showGallery(); },
    })));
    fillSelect("mask_class", classes);
    fillSelect("generator_class", generatorClasses.slice(0, 2000));
    $("generator-filter").hidden = !generatorClasses.length;
  }
  options.forEach(([, choice], i) => $("picks").children[i].setAttribute("aria-pressed",
    String(JSON.stringify(choice) === JSON.stringify(pick))));
  $("filter").hidden = !isBrowsing();
}

function fillSelect(name, options) {
  const select = $("filter").elements[name];
  const chosen = select.value;
  select.replaceChildren(make("option", { value: "", textContent: "any" }),
    ...options.map((k) => make("option", { value: String(k.id), textContent: k.name })));
  select.value = chosen;
}

// The filter as the form says it: empty fields are left out, shares are in percent.
function readFilter() {
  const found = {};
  for (const [name, value] of new FormData($("filter"))) {
    if (value === "" || name === "from_key") continue;
    found[name] = name.endsWith("_area") ? String(Number(value) / 100) : value;
  }
  if (!found.mask_class) { delete found.min_area; delete found.max_area; }
  return found;
}

function onFilter(event) {
  event.preventDefault();
  const key = $("filter").elements.from_key.value.trim();
  filter = readFilter();
  pages = [key ? key.padStart(9, "0") : ""];
  showGallery();
}

async function showGallery() {
  try { await drawGallery(); trouble(""); } catch (error) { trouble(error); }
}

// Asks for samples until there are `limit`, the dataset ends, or enough requests were made.
async function findSamples(query, limit) {
  const found = { tiles: [], searched: 0, unreadable: 0, next: query.from_key || "" };
  for (let i = 0; i < MOST_REQUESTS && found.tiles.length < limit; i += 1) {
    const words = { ...query, limit: limit - found.tiles.length };
    if (found.next) words.from_key = found.next;
    const answer = await ask(`v1/samples?${new URLSearchParams(words)}`);
    found.tiles.push(...answer.tiles);
    found.searched += answer.samples_searched;
    found.unreadable += answer.shards_unreadable;
    found.next = answer.next_key;
    if (!answer.next_key) break;
  }
  return found;
}

async function drawGallery() {
  const mine = drawing += 1;
  let tiles;
  if (isBrowsing()) {
    const from = pages[pages.length - 1];
    $("page-note").textContent = "searching …";
    const found = await findSamples(from ? { ...filter, from_key: from } : filter, 24);
    if (mine !== drawing) return;  // another page was asked for meanwhile
    tiles = found.tiles;
    nextKey = found.next;
    const unreadable = found.unreadable ? `; ${count(found.unreadable)} shards have no readable table` : "";
    const more = found.next && tiles.length < 24 ? `; looked at ${count(found.searched)} samples, there are more` : "";
    $("page-note").textContent = `page ${pages.length}: ${tiles.length || "no"} samples${more}${unreadable}`;
  } else {
    tiles = (await ask(`v1/gallery?${new URLSearchParams(pick)}`)).tiles;
    if (mine !== drawing) return;
    nextKey = "";
  }
  $("pager").hidden = !isBrowsing();
  $("page-before").disabled = pages.length < 2;
  $("page-after").disabled = !nextKey;
  shownTiles = tiles.map((tile) => tile.key);
  const keys = shownTiles.join();
  if ($("gallery").dataset.keys === keys) return markTiles();
  $("gallery").dataset.keys = keys;
  $("gallery").replaceChildren(...tiles.map((tile) => make("a", { href: `#sample/${tile.key}` },
    make("img", { src: `v1/samples/${tile.key}/tile.png`, loading: "lazy", width: 316, height: 158,
      alt: `sample ${tile.key}: ${tile.is_edited ? "before its edit and after, masks over them"
        : "image, and its mask over it"}` }),
    `${tile.key} ${tile.class_name} ${tile.confidence.toFixed(2)}`)));
  return markTiles();
}

// The sample before or after `key`: among the tiles of a pick, else by the filter. Null at the end.
async function neighbour(key, step) {
  const place = shownTiles.indexOf(key);
  if (!isBrowsing() && place >= 0) return shownTiles[place + step] ?? null;
  const down = (filter.order === "descending") !== (step < 0);
  const query = { ...(isBrowsing() ? filter : {}), order: down ? "descending" : "ascending", from_key: key };
  const found = await findSamples(query, 2);
  return found.tiles.map((tile) => tile.key).find((other) => other !== key) ?? null;
}

function badKeys() {
  try {
    const kept = JSON.parse(localStorage.getItem(`bad ${datasetId}`) || "[]");
    return new Set(kept.filter((key) => /^[0-9]{9}$/.test(key)));
  } catch { return new Set(); }
}

function toggleBad(key) {
  const bad = badKeys();
  if (!bad.delete(key)) bad.add(key);
  try { localStorage.setItem(`bad ${datasetId}`, JSON.stringify([...bad].sort())); }
  catch (error) { trouble(`this browser keeps no list: ${error.message}`); }
  drawBad();
}

function markTiles() {
  const bad = badKeys();
  for (const tile of $("gallery").children) tile.classList.toggle("bad", bad.has(tile.hash.slice(8)));
}

function drawBad() {
  const bad = badKeys();
  $("bad").hidden = !bad.size;
  $("bad-count").textContent = `${count(bad.size)} marked as bad, in this browser only. To drop them: download the ` +
    "list, then factory subset DATASET -o NEW --without-keys bad.txt";
  markTiles();
}

function downloadBad() {
  const text = [`# dataset ${datasetId}`, ...[...badKeys()].sort(), ""].join("\n");
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: "bad.txt" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function startGallery() {
  $("filter").onsubmit = onFilter;
  $("page-before").onclick = () => { pages.pop(); showGallery(); };
  $("page-after").onclick = () => { pages.push(nextKey); showGallery(); };
  $("bad-download").onclick = downloadBad;
  $("bad-clear").onclick = () => {
    if (!confirm("Forget which samples are marked as bad?")) return;
    localStorage.removeItem(`bad ${datasetId}`);
    drawBad();
  };
}

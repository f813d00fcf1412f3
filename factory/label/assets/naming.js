// What a person did to a tree, as values: each edit gives a new state and leaves the old one whole.
//
// A state is {cut, joins, names, colours, order}. `cut` are the nodes that hold every leaf once.
// `joins` are groups of nodes that a person made one class; whatever the cut is, the nodes that lie
// wholly inside a group belong to it. Names and colours stay on the nodes (or the group) they were
// given to, so that moving the slider away and back loses none.

import { ascending } from "label/tree";

export const keyOf = (nodes) => [...nodes].sort(ascending).join();
const nodesOf = (key) => key.split(",").map(Number);

export function freshState(tree, numClasses) {
  return { cut: tree.flatCut(numClasses), joins: [], names: {}, colours: {}, order: [] };
}

export function slide(tree, state, numClasses) {
  return { ...state, cut: tree.flatCut(numClasses) };
}

// The classes of a state, in the order of their mask values: those of the file it came from first,
// then by fitting pixels.
export function classesOf(tree, state) {
  const groups = new Map();
  const groupOf = groupFinder(tree, state);
  for (const node of state.cut) {
    const key = groupOf(node) ?? String(node);
    groups.set(key, [...(groups.get(key) ?? []), node]);
  }
  const classes = [...groups].map(([key, nodes]) => describe(tree, state, key, nodes));
  const rank = ({ key }) => (state.order.includes(key) ? state.order.indexOf(key) : Infinity);
  const before = (one, other) => (rank(one) === rank(other) ? other.size - one.size : rank(one) - rank(other));
  return classes.sort(before).map((found, id) => ({ ...found, id }));
}

function groupFinder(tree, state) {
  const owner = new Map();
  for (const nodes of state.joins) {
    for (const leaf of tree.leavesOf(nodes)) owner.set(leaf, keyOf(nodes));
  }
  return (node) => {
    const found = new Set(tree.leaves[node].map((leaf) => owner.get(leaf)));
    return found.size === 1 ? [...found][0] : undefined;
  };
}

function describe(tree, state, key, nodes) {
  const inherited = inherit(tree, state, nodes);
  const named = state.names[key];
  const plain = `cluster_${key.replaceAll(",", "_")}`;
  return {
    key,
    nodes,
    size: tree.size(nodes),
    isJoined: key.includes(","),
    isNamed: named !== undefined,
    name: named ?? inherited.name ?? plain,
    plainName: inherited.name ?? plain,
    colour: state.colours[key] ?? inherited.colour ?? tree.nodes[tree.largest(nodes)].colour,
  };
}

// A cluster without a name of its own is called after the named ones in it, if they are most of it.
function inherit(tree, state, nodes) {
  const inside = new Set(tree.leavesOf(nodes));
  const below = [...new Set([...Object.keys(state.names), ...Object.keys(state.colours)])]
    .map((key) => ({ key, leaves: tree.leavesOf(nodesOf(key)) }))
    .filter(({ leaves }) => leaves.length < inside.size && leaves.every((leaf) => inside.has(leaf)))
    .sort((one, other) => tree.size(other.leaves) - tree.size(one.leaves));
  const taken = new Set();
  const parts = [];
  for (const { key, leaves } of below) {
    if (leaves.some((leaf) => taken.has(leaf))) continue;
    leaves.forEach((leaf) => taken.add(leaf));
    parts.push(key);
  }
  if (2 * tree.size([...taken]) <= tree.size(nodes)) return {};
  const names = [...new Set(parts.map((key) => state.names[key]).filter(Boolean))];
  return { name: names.join(" + ") || undefined, colour: state.colours[parts[0]] };
}

// One node into its two children; a group into its nodes.
export function split(tree, state, key) {
  if (key.includes(",")) return apart(state, key);
  const children = tree.nodes[Number(key)].children;
  if (!children) return state;
  const cut = state.cut.filter((node) => node !== Number(key));
  return { ...state, cut: [...cut, ...children].sort(ascending) };
}

// A node and its sibling into their parent.
export function close(tree, state, key) {
  const parent = tree.parent[nodesOf(key)[0]];
  if (key.includes(",") || parent === null) return state;
  const inside = new Set(tree.leaves[parent]);
  const rest = state.cut.filter((node) => !inside.has(tree.leaves[node][0]));
  return { ...state, cut: [...rest, parent].sort(ascending) };
}

// Several classes into one, wherever they stand in the tree. The largest named one gives the name.
export function join(tree, state, keys) {
  const chosen = classesOf(tree, state).filter(({ key }) => keys.includes(key));
  if (chosen.length < 2) return state;
  const nodes = chosen.flatMap((one) => (one.isJoined ? nodesOf(one.key) : one.nodes));
  const bySize = [...chosen].sort((one, other) => other.size - one.size);
  const first = bySize.find(({ isNamed }) => isNamed) ?? bySize[0];
  const key = keyOf(nodes);
  const joins = state.joins.filter((old) => !keys.includes(keyOf(old)));
  const names = first.isNamed ? { ...state.names, [key]: first.name } : state.names;
  const colours = { ...state.colours, [key]: first.colour };
  return { ...state, joins: [...joins, nodes], names, colours };
}

export function apart(state, key) {
  return { ...state, joins: state.joins.filter((nodes) => keyOf(nodes) !== key) };
}

export function rename(state, key, name) {
  const { [key]: _, ...names } = state.names;
  const words = tidy(name);
  return { ...state, names: words ? { ...names, [key]: words } : names };
}

export const tidy = (name) => name.trim().replaceAll(/\s+/g, " ");

export function recolour(state, key, colour) {
  return { ...state, colours: { ...state.colours, [key]: colour } };
}

// The content of a labels file, without the tree's digest.
export function toLabels(tree, state) {
  return classesOf(tree, state).map(({ name, colour, nodes }) => ({ name, colour, nodes }));
}

export function fromLabels(tree, labels) {
  const state = { cut: [], joins: [], names: {}, colours: {}, order: [] };
  for (const { name, colour, nodes } of labels) {
    const key = keyOf(nodes);
    state.cut.push(...nodes);
    if (nodes.length > 1) state.joins.push([...nodes].sort(ascending));
    if (name !== `cluster_${key.replaceAll(",", "_")}`) state.names[key] = name;
    if (colour !== tree.nodes[tree.largest(nodes)].colour) state.colours[key] = colour;
    state.order.push(key);
  }
  state.cut.sort(ascending);
  return state;
}

// What differs between two lists of labels, in words; empty if nothing does.
export function changes(before, after) {
  const old = new Map(before.map((label, id) => [keyOf(label.nodes), { ...label, id }]));
  const same = after.filter(({ nodes }) => old.has(keyOf(nodes)));
  const was = ({ nodes }) => old.get(keyOf(nodes));
  const fresh = after.filter(({ nodes, name }) => !old.has(keyOf(nodes)) && !name.startsWith("cluster_"));
  const names = [...same.filter((label) => was(label).name !== label.name), ...fresh];
  const colours = same.filter((label) => was(label).colour !== label.colour);
  const isCut = same.length < Math.max(before.length, after.length);
  const isMoved = !isCut && after.some((label, id) => was(label).id !== id);
  return [
    isCut && `${after.length} classes instead of ${before.length}`,
    isMoved && "the order",
    names.length && `named ${names.map(({ name }) => name).join(", ")}`,
    colours.length && `coloured ${colours.map(({ name }) => name).join(", ")}`,
  ].filter(Boolean).join("; ");
}

export function twins(classes) {
  const names = classes.map(({ name }) => name);
  return [...new Set(names.filter((name, place) => names.indexOf(name) !== place))];
}

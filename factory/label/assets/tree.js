// The merge tree as the page knows it. Nothing here draws or remembers what a person did.

export class Tree {
  constructor(nodes) {
    this.nodes = nodes;
    this.parent = new Array(nodes.length).fill(null);
    this.leaves = nodes.map(() => []);
    for (const { id, children } of nodes) {
      if (!children) this.leaves[id] = [id];
      for (const child of children ?? []) {
        this.parent[child] = id;
        this.leaves[id].push(...this.leaves[child]); // a node's number is above its children's
      }
    }
    this.numLeaves = nodes.filter(({ children }) => !children).length;
  }

  flatCut(numClasses) {
    const alive = ({ id, born }) => numClasses <= born && !(this.parentBorn(id) >= numClasses);
    return this.nodes.filter(alive).map(({ id }) => id);
  }

  parentBorn(node) {
    const parent = this.parent[node];
    return parent === null ? 1 : this.nodes[parent].born;
  }

  isFlat(cut) {
    return this.flatCut(cut.length).join() === cut.join();
  }

  size(nodes) {
    return nodes.reduce((sum, node) => sum + this.nodes[node].size, 0);
  }

  leavesOf(nodes) {
    return nodes.flatMap((node) => this.leaves[node]);
  }

  largest(nodes) {
    return nodes.reduce((best, node) => (this.size([node]) > this.size([best]) ? node : best));
  }
}

export const ascending = (first, second) => first - second;

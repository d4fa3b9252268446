/**
 * A long list in blocks of some hundred items, of which those near the window have their elements and
 * the others only their height.
 *
 * Heights are known before an item was ever drawn: all lines are as high as each other, and how many a
 * text takes where it is wrapped follows from its length, as its letters are equally wide.
 */

const SIZE = 100; // items in a block
const MARGIN = "800px 0px"; // around the window

export class Blocks {
  /**
   * @param {object} options
   * @param {HTMLElement} options.box that scrolls
   * @param {HTMLElement} options.list in it, for the blocks
   * @param {() => number} options.count how many items there are
   * @param {(item: number) => HTMLElement} options.element of an item, made anew
   * @param {(item: number) => number} options.linesOf how many lines it takes, about
   */
  constructor({ box, list, count, element, linesOf }) {
    Object.assign(this, { box, list, count, element, linesOf });
    this.blocks = []; // each {node, isFull, size, lines}
    this.watcher = new IntersectionObserver((seen) => this.follow(seen), {
      root: box,
      rootMargin: MARGIN,
    });
  }

  /** Takes in the items that came at the end. */
  extend() {
    const count = this.count();
    let place = Math.max(0, this.blocks.length - 1);
    for (; place * SIZE < count; place++) {
      const block = this.blocks[place] ?? this.addBlock();
      this.grow(block, place, Math.min(SIZE, count - place * SIZE));
    }
  }

  addBlock() {
    const node = document.createElement("div");
    node.className = "block";
    const block = { node, isFull: false, size: 0, lines: 0 };
    node.dataset.block = this.blocks.push(block) - 1;
    this.list.append(node);
    this.watcher.observe(node);
    return block;
  }

  grow(block, place, size) {
    for (let index = block.size; index < size; index++) {
      const item = place * SIZE + index;
      block.lines += this.linesOf(item);
      if (block.isFull) block.node.append(this.element(item));
    }
    block.size = size;
    if (!block.isFull) this.reserve(block);
  }

  reserve({ node, lines }) {
    node.style.height = `calc(${lines} * var(--row))`;
  }

  /** Draws an item anew, where it is drawn. */
  redraw(item) {
    const { block, index } = this.at(item);
    if (block?.isFull) block.node.children[index]?.replaceWith(this.element(item));
  }

  /** Draws all items anew that are drawn. */
  redrawAll() {
    for (const block of this.blocks) if (block.isFull) this.fill(block, true);
  }

  /** Begins anew, as other items are shown or the same ones in another way. */
  reset() {
    this.watcher.disconnect();
    this.list.replaceChildren();
    this.blocks = [];
    this.extend();
  }

  at(item) {
    return { block: this.blocks[Math.floor(item / SIZE)], index: item % SIZE };
  }

  follow(seen) {
    for (const { target, isIntersecting } of seen) {
      const block = this.blocks[target.dataset.block];
      if (block?.node !== target) continue; // of before a reset
      if (isIntersecting) this.fill(block);
      else this.empty(block);
    }
  }

  fill(block, again = false) {
    if (block.isFull && !again) return;
    const first = Number(block.node.dataset.block) * SIZE;
    const elements = Array.from({ length: block.size }, (_, index) => this.element(first + index));
    block.node.replaceChildren(...elements);
    block.node.style.height = "";
    block.isFull = true;
  }

  /** Its height stays what it was. */
  empty(block) {
    if (!block.isFull) return;
    const { height } = block.node.getBoundingClientRect();
    block.node.replaceChildren();
    block.node.style.height = `${height}px`;
    block.isFull = false;
  }

  // Places

  /** The element of an item, which is drawn for it. */
  draw(item) {
    const { block, index } = this.at(item);
    if (!block) return null;
    this.fill(block);
    return block.node.children[index];
  }

  /** Brings an item into the window, and what is around it. */
  show(item) {
    this.draw(item);
    this.box.scrollTop += this.offsetOf(item) - this.box.clientHeight / 3;
  }

  /** How far an item's upper edge is below that of the box. */
  offsetOf(item) {
    const edge = this.box.getBoundingClientRect().top;
    return this.draw(item).getBoundingClientRect().top - edge;
  }

  /** The first item in the window; -1 where there is none. */
  first() {
    const edge = this.box.getBoundingClientRect().top;
    const place = this.blocks.findIndex(({ node }) => node.getBoundingClientRect().bottom > edge);
    if (place < 0) return -1;
    this.fill(this.blocks[place]);
    const lines = [...this.blocks[place].node.children];
    const index = lines.findIndex((line) => line.getBoundingClientRect().bottom > edge);
    return place * SIZE + Math.max(0, index);
  }

  showEnd() {
    if (this.blocks.length) this.fill(this.blocks.at(-1));
    this.box.scrollTop = this.box.scrollHeight;
  }
}

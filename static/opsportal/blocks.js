/**
 * The rows of a long list, in blocks of which only those in sight are laid out.
 *
 * Whenever a list changes, a browser goes through all that it holds, even where that is out of
 * sight: one list of thousands of rows would keep a page busy for as long as each row that comes.
 */

const SIZE = 100; // rows in a block

/**
 * @param {HTMLElement} element that holds lists, the blocks
 * @returns {import("./event_list.js").Rows}
 */
export function inBlocks(element) {
  const blocks = () => [...element.children];
  return {
    count: () => blocks().reduce((sum, block) => sum + block.childElementCount, 0),
    last: () => element.lastElementChild.lastElementChild,
    clear: () => element.replaceChildren(),

    prepend(rows) {
      const first = element.firstElementChild;
      const hasRoom = first && first.childElementCount + rows.length <= SIZE;
      const block = hasRoom ? first : document.createElement("ol");
      block.prepend(...rows);
      if (!hasRoom) element.prepend(block);
    },

    removeLast() {
      const block = element.lastElementChild;
      block.lastElementChild.remove();
      if (!block.childElementCount) block.remove();
    },
  };
}

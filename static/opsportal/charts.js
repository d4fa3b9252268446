/** Small charts, drawn as the server draws them (charts.py). */

const HEIGHT = 40; // of the image
const LEAST = 3; // that can be seen

/**
 * @param {SVGElement} chart with a rectangle for each value
 * @param {number[]} values the highest is as high as the image
 */
export function drawColumns(chart, values) {
  const highest = Math.max(...values) || 1;
  chart.querySelectorAll("rect").forEach((column, number) => {
    const height = heightOf(values[number] / highest);
    set(column, "height", height);
    set(column, "y", HEIGHT - height);
  });
}

/**
 * @param {SVGElement} chart with rectangles `.span` and `.loss` for each span
 * @param {[number, number][]} spans the seconds that all servers were up, and down, in each
 */
export function drawLosses(chart, spans) {
  const columns = chart.querySelectorAll(".span");
  chart.querySelectorAll(".loss").forEach((loss, number) => {
    const [up, down] = spans[number];
    set(columns[number], "height", up + down ? HEIGHT : 0);
    set(loss, "height", heightOf(down / (up + down || 1)));
  });
}

const heightOf = (share) => Math.round(10 * Math.max(HEIGHT * share, share ? LEAST : 0)) / 10;

function set(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * @param {Element} tile with a bar for each key
 * @param {Record<string, number>} counts
 */
export function showBars(tile, counts) {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  for (const bar of tile.querySelectorAll("[data-key]")) {
    const count = counts[bar.dataset.key] ?? 0;
    set(bar.querySelector("rect"), "width", Math.round((100 * count) / (total || 1)));
    write(bar.querySelector(".count"), count);
  }
}

/**
 * @param {Element} tile with an element `data-figure` for some of the figures
 * @param {Record<string, any>} figures
 */
export function showFigures(tile, figures) {
  for (const element of tile.querySelectorAll("[data-figure]")) {
    write(element, figures[element.dataset.figure]);
  }
}

export function write(element, value) {
  const text = String(value);
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A browser's clock may be wrong; that time passes, it knows.
 *
 * @param {number} moment by the server's clock when the page was rendered, in milliseconds
 * @returns {() => number} the server's time from now on
 */
export function serverClock(moment) {
  const difference = moment - Date.now();
  return () => Date.now() + difference;
}

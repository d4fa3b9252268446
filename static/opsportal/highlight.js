/** A short glow shows what has changed. */

const LENGTH = 2_000; // ms

const stillness = matchMedia("(prefers-reduced-motion: reduce)");

/** Nothing moves, and the few steps keep a list with many changes from painting all the time. */
export function highlight(element) {
  const easing = stillness.matches ? "steps(1, jump-end)" : "steps(5, jump-end)";
  const backgroundColor = ["var(--highlight)", "transparent"];
  element.animate({ backgroundColor }, { duration: LENGTH, easing });
}

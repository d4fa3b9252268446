/** Requests beside the stream, none of which is waited for without an end. */

const PROBE_TIMEOUT = 10_000; // ms

/**
 * Why the stream cannot be had, which an `EventSource` does not tell.
 *
 * @param {string} address
 * @param {AbortSignal} signal
 * @returns {Promise<{status: number, delay: number}>} status 0 where nobody answers; `delay` as
 *   `retryAfter` has it
 */
export async function ask(address, signal) {
  const limit = limited(signal, PROBE_TIMEOUT);
  try {
    const headers = { Accept: "text/event-stream" };
    const answer = await fetch(address, { headers, cache: "no-store", signal: limit.signal });
    return { status: answer.status, delay: retryAfter(answer) };
  } catch {
    return { status: 0, delay: 0 };
  } finally {
    limit.end(); // where it was the stream after all, it is not to stay open beside the next
  }
}

/**
 * A signal that aborts a request with another one, after so many milliseconds, or at its end.
 *
 * @param {AbortSignal} signal
 * @param {number} timeout
 */
export function limited(signal, timeout) {
  const request = new AbortController();
  const abort = () => request.abort();
  const timer = setTimeout(abort, timeout);
  signal.addEventListener("abort", abort, { once: true });
  const end = () => {
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
    abort();
  };
  return { signal: request.signal, end };
}

/**
 * @param {Response} answer
 * @returns {number} for how many milliseconds the server does not want to be asked again
 */
export function retryAfter(answer) {
  const seconds = Number(answer.headers.get("Retry-After"));
  return seconds > 0 ? seconds * 1_000 : 0;
}

// What was sampled in the last minutes, for the graphs. Kept in the page only: the server keeps no history.

export const KEPT_MS = 5 * 60 * 1000;
// Between two samples that are farther apart, nothing is known: the page was hidden or the server away.
export const GAP_MS = 12 * 1000;

export class History {
  constructor() {
    this.series = new Map();   // key of the stream → [{ at, kbps, fps, players }]
  }

  add(at, streams) {
    const seen = new Set();
    for (const { key, kbps, fps, players } of streams) {
      seen.add(key);
      let list = this.series.get(key);
      if (!list) this.series.set(key, list = []);
      list.push({ at, kbps, fps, players });
      let old = 0;
      while (old < list.length && list[old].at < at - KEPT_MS - GAP_MS) old += 1;
      if (old) list.splice(0, old);
    }
    for (const [key, list] of this.series) {
      if (!seen.has(key) && list[list.length - 1].at < at - KEPT_MS) this.series.delete(key);
    }
  }

  of(key) {
    return this.series.get(key) || [];
  }
}

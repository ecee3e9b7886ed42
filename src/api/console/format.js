// Figures and names as a person reads them. All return text; none of it is markup.

const NONE = '–';

export const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);

// Three figures at most, so that a column keeps its width while its values move.
function short(value) {
  if (value >= 100) return value.toFixed(0);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

export function bitrate(kbps) {
  if (!isNumber(kbps)) return NONE;
  if (kbps >= 1e6) return `${short(kbps / 1e6)} Gbit/s`;
  if (kbps >= 1000) return `${short(kbps / 1000)} Mbit/s`;
  return `${kbps.toFixed(0)} kbit/s`;
}

export function bytes(count) {
  if (!isNumber(count)) return NONE;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) { count /= 1024; at += 1; }
  return `${at === 0 ? count : short(count)} ${units[at]}`;
}

export function count(value) {
  return isNumber(value) ? Math.round(value).toLocaleString('en') : NONE;
}

export function fps(value) {
  if (!isNumber(value)) return NONE;
  const rounded = Math.round(value * 10) / 10;
  return `${Number.isInteger(rounded) ? rounded.toFixed(0) : rounded.toFixed(1)} fps`;
}

export function percent(value) {
  return isNumber(value) ? `${value < 10 ? value.toFixed(1) : value.toFixed(0)} %` : NONE;
}

// A length of time: the two largest units of it.
export function duration(ms) {
  if (!isNumber(ms)) return NONE;
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (a, unitA, b, unitB) => `${a} ${unitA} ${String(b).padStart(2, '0')} ${unitB}`;
  if (s >= 86400) return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
  if (s >= 3600) return two(Math.floor(s / 3600), 'h', Math.floor(s / 60) % 60, 'min');
  if (s >= 60) return two(Math.floor(s / 60), 'min', s % 60, 's');
  return `${s} s`;
}

// A short length of time, such as a GOP or a delay.
export function span(ms) {
  if (!isNumber(ms)) return NONE;
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`;
}

export function moment(ms) {
  return isNumber(ms) && ms > 0 ? new Date(ms).toLocaleString() : NONE;
}

// A name that a peer chose. Characters that steer the text around them (control characters, and those that turn its direction) are
// spelled out, or a name could look like another one, or like the console's own words.
export function name(text) {
  if (text === null || text === undefined) return NONE;
  return String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (c) => {
    const code = c.codePointAt(0);
    if (code === 0x200d) return c;   // joins emoji, and steers nothing
    return `\\u{${code.toString(16)}}`;
  });
}

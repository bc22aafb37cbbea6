// Draws one plot as SVG: axes with round numbers, curves, bars, and the reading at a place; pure functions of what they are given.
const INK = "#7d8590";
const RULE = "rgba(125,133,144,0.25)";
const LEFT = 54, RIGHT = 12, TOP = 8, BOTTOM = 34;
const FEW = { line: 12, dots: 25 };

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

/** A place on the page for each value, and back. */
function scaleOf(log, low, high, from, to) {
  const read = log ? Math.log10 : (value) => value;
  const a = read(low), span = read(high) - a || 1;
  const at = (value) => from + ((read(value) - a) / span) * (to - from);
  at.back = (place) => {
    const value = a + ((place - from) / (to - from)) * span;
    return log ? 10 ** value : value;
  };
  return at;
}

/** Round values between two ends, 1, 2 or 5 times a power of ten apart. */
function roundTicks(low, high, about) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(span / about));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one * about >= span * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

/** Powers of ten between two positive ends, with 2 and 5 times them where there are few. */
function logTicks(low, high) {
  const found = [], first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const skip = Math.max(1, Math.ceil((last - first) / 7));
  for (let k = first; k <= last; k += skip) {
    for (const part of Math.log10(high / low) < 2.5 ? [1, 2, 5] : [1]) {
      const value = part * 10 ** k;
      if (value >= low * 0.999 && value <= high * 1.001) found.push(value);
    }
  }
  return found.length > 1 ? found : roundTicks(low, high, 4);
}

function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return value.toExponential(0);
  if (size >= 10000) return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 }).format(value);
  return String(Number(value.toPrecision(4)));
}

/** A value in words, as its curve asks: a share, a count, bytes, or four digits. */
function told(value, format) {
  if (!Number.isFinite(value)) return "–";
  if (format === "share") return `${(100 * value).toFixed(1)} %`;
  if (format === "count") return Math.round(value).toLocaleString("en");
  if (format === "rate") return `${Math.round(value).toLocaleString("en")} samples/s`;
  if (format === "bytes") return value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(2)} GiB` : `${(value / 2 ** 20).toFixed(0)} MiB`;
  if (format === "cores") return `${value.toFixed(2)} cores`;
  return Math.abs(value) >= 1e-3 || value === 0 ? value.toFixed(4) : value.toExponential(2);
}

function tickText(value, format) {
  if (format === "bytes") return value >= 2 ** 30 ? `${short(value / 2 ** 30)} GiB` : `${short(value / 2 ** 20)} MiB`;
  return short(value);
}

/** A running mean that forgets: each value counts `weight` times as much as the one after it. */
function smoothed(values, weight) {
  const found = new Float64Array(values.length);
  let sum = 0, counted = 0;
  for (let k = 0; k < values.length; k++) {
    if (Number.isFinite(values[k])) {
      sum = weight * sum + (1 - weight) * values[k];
      counted = weight * counted + (1 - weight);
    }
    found[k] = counted && Number.isFinite(values[k]) ? sum / counted : NaN;
  }
  return found;
}

/** Ends of both axes for the curves of a plot, with what the reader asked for. */
function endsOf(plot, curves, look) {
  const zoom = look.zoom[plot.name];
  const log = look.log && plot.log;
  const bars = plot.curves.some((one) => one.kind === "bars");
  let right = bars ? 1 : 0, low = Infinity, high = -Infinity;
  for (const one of plot.curves) {
    const { x, y } = curves[one.name];
    for (let k = 0; k < x.length; k++) {
      if (x[k] > right) right = x[k];
      if (zoom && (x[k] < zoom[0] || x[k] > zoom[1])) continue;
      if (!Number.isFinite(y[k]) || (log && y[k] <= 0)) continue;
      if (y[k] < low) low = y[k];
      if (y[k] > high) high = y[k];
    }
  }
  const x = zoom ?? (bars ? [-0.6, right + 0.6] : [0, right || 1]);
  if (low > high) [low, high] = log ? [0.1, 1] : [0, 1];
  let hidden = 0;
  const limits = look.limits[plot.name];
  if (!look.all && !zoom && limits) {
    hidden = limits[2];
    high = Math.min(high, limits[1]);
    low = Math.max(low, limits[0]);
  }
  if (log) return { x, y: low === high ? [low / 2, high * 2] : [low * 0.9, high * 1.1], log, hidden };
  if (plot.range && !zoom) return { x, y: plot.range, log, hidden };
  const from = plot.zero && !zoom ? Math.min(0, low) : low;
  const span = high - from || Math.abs(high) || 1;
  return { x, y: [from < 0 || zoom || !plot.zero ? from - 0.05 * span : from, high + 0.06 * span], log, hidden };
}

function pathOf(x, y, atX, atY, log, steps) {
  let path = "", pen = "M", before = 0;
  for (let k = 0; k < x.length; k++) {
    if (!Number.isFinite(y[k]) || (log && y[k] <= 0)) {
      pen = "M";
      continue;
    }
    const across = atX(x[k]).toFixed(1), up = Math.max(-1e4, Math.min(1e4, atY(y[k]))).toFixed(1);
    if (steps && pen === "L") path += `L${across} ${before}`;
    path += `${pen}${across} ${up}`;
    pen = "L";
    before = up;
  }
  return path;
}

function curveDrawn(one, curve, atX, atY, ends, smoothing, bottom) {
  const { x, y } = curve;
  if (one.kind === "bars") {
    const half = Math.max(1.5, Math.min(24, (atX(1) - atX(0)) * 0.33));
    return Array.from(x, (rank, k) => {
      const top = Number.isFinite(y[k]) ? atY(Math.max(y[k], ends.log ? ends.y[0] : 0)) : bottom;
      return `<rect x="${(atX(rank) - half).toFixed(1)}" y="${top.toFixed(1)}" width="${(2 * half).toFixed(1)}" height="${Math.max(0, bottom - top).toFixed(1)}" fill="${one.color}"/>`;
    }).join("");
  }
  const smooth = smoothing > 0 && one.kind !== "steps" && x.length > 2;
  const line = (values, opacity) =>
    `<path d="${pathOf(x, values, atX, atY, ends.log, one.kind === "steps")}" fill="none" stroke="${one.color}" stroke-width="1.7" stroke-opacity="${opacity}"${one.dash ? ' stroke-dasharray="3 3"' : ""} stroke-linejoin="round"/>`;
  let drawn = smooth ? line(y, 0.28) + line(smoothed(y, smoothing), 1) : line(y, 1);
  if (one.kind !== "steps" && x.length <= FEW[one.kind]) {
    for (let k = 0; k < x.length; k++) {
      if (!Number.isFinite(y[k]) || (ends.log && y[k] <= 0)) continue;
      drawn += `<circle cx="${atX(x[k]).toFixed(1)}" cy="${atY(y[k]).toFixed(1)}" r="${one.kind === "dots" ? 3 : 2.2}" fill="${one.color}"/>`;
    }
  }
  return drawn;
}

/** One plot as the inside of an SVG of that size, with the scales for whoever points at it. */
function drawn(plot, curves, look, width, height) {
  const ends = endsOf(plot, curves, look);
  const right = width - RIGHT, bottom = height - BOTTOM;
  const atX = scaleOf(false, ends.x[0], ends.x[1], LEFT, right);
  const atY = scaleOf(ends.log, ends.y[0], ends.y[1], bottom, TOP);
  const clip = `clip-${look.id}-${plot.name}`;
  const format = plot.curves[0].format;
  const rows = Math.max(2, Math.round((bottom - TOP) / 34)), across = Math.max(2, Math.round((right - LEFT) / 64));
  const whole = (values, only) => (only ? values.filter((one) => Number.isInteger(one)) : values);
  let out = `<clipPath id="${clip}"><rect x="${LEFT - 1}" y="${TOP - 4}" width="${right - LEFT + 6}" height="${bottom - TOP + 5}"/></clipPath>`;
  const levels = ends.log
    ? logTicks(ends.y[0], ends.y[1])
    : format === "bytes"
      ? roundTicks(ends.y[0] / 2 ** 20, ends.y[1] / 2 ** 20, rows).map((one) => one * 2 ** 20)
      : whole(roundTicks(ends.y[0], ends.y[1], rows), plot.whole);
  for (const value of levels) {
    const at = atY(value).toFixed(1);
    out += `<line x1="${LEFT}" y1="${at}" x2="${right}" y2="${at}" stroke="${RULE}"/>`;
    out += `<text x="${LEFT - 6}" y="${(+at + 3.5).toFixed(1)}" text-anchor="end" fill="${INK}">${escaped(tickText(value, format))}</text>`;
  }
  const bars = plot.curves.some((one) => one.kind === "bars");
  for (const value of whole(roundTicks(Math.max(ends.x[0], bars ? 0 : -Infinity), ends.x[1], across), true)) {
    const at = atX(value).toFixed(1);
    out += `<line x1="${at}" y1="${bottom}" x2="${at}" y2="${bottom + 4}" stroke="${INK}" stroke-opacity="0.5"/>`;
    out += `<text x="${at}" y="${bottom + 15}" text-anchor="middle" fill="${INK}">${short(value)}</text>`;
  }
  out += `<line x1="${LEFT}" y1="${bottom}" x2="${right}" y2="${bottom}" stroke="${INK}" stroke-opacity="0.45"/>`;
  out += `<text x="${(LEFT + right) / 2}" y="${height - 3}" text-anchor="middle" fill="${INK}">${escaped(plot.x)}</text>`;
  out += `<g clip-path="url(#${clip})">`;
  for (const one of plot.curves) out += curveDrawn(one, curves[one.name], atX, atY, ends, look.smoothing, bottom);
  return { inner: `${out}</g>`, atX, atY, ends, right, bottom };
}

/** What stands at a place across: the nearest point of each curve. */
function readingAt(plot, curves, look, x) {
  const found = [];
  for (const one of plot.curves) {
    const curve = curves[one.name];
    if (!curve.x.length) continue;
    let best = -1;
    for (let k = 0; k < curve.x.length; k++) {
      if (one.kind === "steps" ? curve.x[k] <= x : best < 0 || Math.abs(curve.x[k] - x) < Math.abs(curve.x[best] - x)) best = k;
    }
    if (best < 0) continue;
    const smooth = look.smoothing > 0 && one.kind !== "steps" && one.kind !== "bars" && curve.x.length > 2;
    found.push({ one, x: one.kind === "steps" ? x : curve.x[best], y: curve.y[best], smooth: smooth ? smoothed(curve.y, look.smoothing)[best] : null });
  }
  return found;
}

/** A plot in a sentence, for those who can't see it. */
function inWords(plot, curves) {
  const said = plot.curves
    .filter((one) => curves[one.name].x.length)
    .map((one) => {
      const { x, y } = curves[one.name];
      if (one.kind === "bars") return Array.from(x, (rank, k) => `${plot.x} ${rank}: ${told(y[k], one.format)}`).slice(0, 16).join(", ");
      return `${one.label} ${told(y[y.length - 1], one.format)} at ${plot.x} ${Math.round(x[x.length - 1]).toLocaleString("en")}`;
    });
  return `${plot.title}: ${said.join("; ") || "no value yet"}`;
}

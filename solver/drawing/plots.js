import { NARROW, colour, counted, draw, element, figure, legend, short } from "./dom.js";

// A logarithmic scale with ticks at 1, 2 and 5 times powers of ten.
export function scale(values, from, to) {
  let low = Math.min(...values), high = Math.max(...values);
  if (low === high) { low /= 1.5; high *= 1.5; }
  const pad = Math.pow(high / low, 0.06);
  low /= pad; high *= pad;
  const place = value => from + (Math.log(value / low) / Math.log(high / low)) * (to - from);
  let ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
    for (const step of [1, 2, 5]) ticks.push(step * Math.pow(10, power));
  ticks = ticks.filter(tick => tick >= low && tick <= high);
  if (ticks.length > 7) ticks = ticks.filter((_, index) => index % Math.ceil(ticks.length / 6) === 0);
  if (ticks.length < 2) ticks = [low * pad, high / pad];
  return { place, ticks };
}

export const AXES = {
  price_per_hour: ["USD per hour", 2], price_per_million_tokens: ["USD per million output tokens", 2], gpus: ["GPUs", 0],
  ttft_s: ["TTFT, seconds", 3], tpot_ms: ["TPOT, ms", 1],
};
// What a price is stands in the form of its mark: prices of several kinds are never one ranking.
const MARKS = { "on-demand": "●", reserved: "■", spot: "▲", list: "◆", "total-cost": "✚" };
const markOf = kind => MARKS[kind] || "●";
export const isPrice = axis => axis.startsWith("price");

// Only answers to one question compare, and prices only with prices of one kind. TPOT counts where it has a limit:
// without one it is what the plan happens to have.
export function questionOf(row) {
  return row.question ?? row.model;
}
export function likeWith(row, axis) {
  return isPrice(axis) ? `${questionOf(row)}\n${row.price_kind || ""}` : questionOf(row);
}
export function frontOf(rows, axis, across) {
  const measures = row => [row[axis], row[across], ...(row.tpot_limit_ms && across !== "tpot_ms" ? [row.tpot_ms ?? Infinity] : [])];
  const groups = new Map();
  for (const row of rows) {
    const key = likeWith(row, axis);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push([measures(row), row]);
  }
  const front = new Set();
  for (const members of groups.values()) {
    // Best first, so that whatever is beaten is beaten by one that is kept already.
    members.sort(([a], [b]) => a.map((value, index) => value - b[index]).find(Boolean) || 0);
    const kept = [];
    for (const [values, row] of members) {
      const beaten = kept.some(other => other.every((value, index) => value <= values[index]) && other.some((value, index) => value < values[index]));
      if (!beaten) { kept.push(values); front.add(row); }
    }
  }
  return front;
}

// Places for names beside points: the first of eight that meets nothing, else none (hover and focus still tell). Points
// of one name that nearly meet have it once.
const NEAR = 18;
function labeller(left, width, height) {
  const taken = [], named = [];
  const free = box => box.x >= left && box.x + box.w <= width && box.y >= 0 && box.y + box.h <= height && !taken.some(other => box.x < other.x + other.w && other.x < box.x + box.w && box.y < other.y + other.h && other.y < box.y + box.h);
  return {
    point: (x, y) => taken.push({ x: x - 4, y: y - 4, w: 8, h: 8 }),
    place(x, y, text) {
      const w = text.length * 5.9, h = 12;
      if (named.some(other => other.text === text && Math.abs(other.x - x) < NEAR && Math.abs(other.y - y) < NEAR)) return null;
      for (const [dx, dy] of [[8, -6], [-8 - w, -6], [-w / 2, -20], [-w / 2, 8], [8, -15], [8, 3], [-8 - w, -15], [-8 - w, 3]]) {
        const box = { x: x + dx, y: y + dy, w, h };
        if (free(box)) { taken.push(box); named.push({ x, y, text }); return [box.x, box.y + 10]; }
      }
      return null;
    },
  };
}

const MOST_MARKS = 3000, MOST_LABELS = 60;

export function nameOf(row) {
  return `${row.gpus} x ${row.device}`;
}
const label = row => nameOf(row).length > 28 ? `${nameOf(row).slice(0, 27)}…` : nameOf(row);

export function paretoPlot(rows, axis, open, across = "ttft_s") {
  const [title, digits] = AXES[axis], [acrossTitle, acrossDigits] = AXES[across];
  const shown = rows.filter(row => row[across] > 0 && row[axis] > 0);
  if (!shown.length) return element("p", { class: "note" }, `No plan among the rows shown has a ${title}.`);
  const width = NARROW.matches ? 340 : 560, height = NARROW.matches ? 270 : 330, left = 46, right = 14, top = 12, bottom = 40;
  const x = scale(shown.map(row => row[across]), left, width - right);
  const y = scale(shown.map(row => row[axis]), height - bottom, top);
  const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${title} against ${acrossTitle}, ${counted(shown.length, "plan")}` });
  for (const tick of x.ticks) {
    chart.append(draw("line", { class: "grid", x1: x.place(tick), x2: x.place(tick), y1: top, y2: height - bottom }));
    chart.append(draw("text", { x: x.place(tick), y: height - bottom + 16, "text-anchor": "middle" }, short(tick)));
  }
  for (const tick of y.ticks) {
    chart.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y.place(tick), y2: y.place(tick) }));
    chart.append(draw("text", { x: left - 6, y: y.place(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  chart.append(draw("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, acrossTitle));
  const front = frontOf(shown, axis, across), questions = [...new Set(shown.map(questionOf))], fills = new Map(questions.map((key, index) => [key, colour(index)]));
  const ordered = [...shown].sort((a, b) => front.has(b) - front.has(a)).slice(0, MOST_MARKS);
  const labels = labeller(left, width - 2, height - bottom), names = draw("g", { "aria-hidden": "true" });
  for (const row of ordered) labels.point(x.place(row[across]), y.place(row[axis]));
  for (const row of ordered.slice(0, MOST_LABELS)) {
    const at = labels.place(x.place(row[across]), y.place(row[axis]), label(row));
    if (at) names.append(draw("text", { x: at[0], y: at[1], class: front.has(row) ? "label" : "" }, label(row)));
  }
  const kinds = [...new Set(shown.map(row => row.price_kind).filter(Boolean))];
  for (const row of ordered.reverse()) {
    const kind = isPrice(axis) && row.price_kind ? `, ${row.price_kind} price` : "";
    const words = `${row.task}: ${nameOf(row)}, ${acrossTitle} ${figure(row[across], acrossDigits)}, ${title} ${figure(row[axis], digits)}${kind}${front.has(row) ? "; no other of its question beats it" : ""}`;
    const mark = draw("text", {
      class: `mark${front.has(row) ? " best" : ""}`, x: x.place(row[across]), y: y.place(row[axis]), "text-anchor": "middle", "dominant-baseline": "central",
      fill: fills.get(questionOf(row)), tabindex: 0, role: "button", "aria-label": words,
    }, draw("title", {}, words), isPrice(axis) ? markOf(row.price_kind) : "●");
    mark.addEventListener("click", () => open(row));
    mark.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(row); } });
    chart.append(mark);
  }
  chart.append(names);
  const box = element("div", {}, chart);
  if (isPrice(axis) && kinds.length) box.append(legend(kinds.map(kind => [`${kind} price`, "transparent", markOf(kind)])));
  if (isPrice(axis) && kinds.length > 1) box.append(element("p", { class: "note" }, "Prices of several kinds stand side by side here and are no one ranking."));
  if (questions.length > 1 && questions.length <= 8) box.append(legend(questions.map(key => [key, fills.get(key)])));
  return box;
}

export function deviceBars(rows) {
  const found = new Map();
  for (const row of rows) {
    const entry = found.get(row.device) || { least: Infinity, most: 0, plans: 0 };
    if (row.gpus) { entry.least = Math.min(entry.least, row.gpus); entry.most = Math.max(entry.most, row.gpus); entry.plans++; }
    found.set(row.device, entry);
  }
  const widest = Math.max(1, ...[...found.values()].map(entry => entry.most));
  const bars = element("div", { class: "bars", role: "list" });
  const ordered = [...found].sort((a, b) => a[1].least - b[1].least || a[1].most - b[1].most || a[0].localeCompare(b[0]));
  for (const [device, entry] of ordered) {
    const track = element("span", { class: "track", "aria-hidden": "true" });
    for (const part of ["most", "least"]) {
      const bar = element("span", { class: part });
      bar.style.width = entry.plans ? `${100 * entry[part] / widest}%` : "0";
      track.append(bar);
    }
    const text = !entry.plans ? "no plan" : entry.least === entry.most ? `${entry.least}` : `${entry.least} to ${entry.most}`;
    bars.append(element("div", { role: "listitem", class: "bar" }, element("span", {}, device), track, element("span", {}, text)));
  }
  return bars;
}

"use strict";
// Charts as inline SVG. Every text goes through textContent: names in the input are never markup.
const SVG = "http://www.w3.org/2000/svg";
function draw(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  for (const child of children) node.append(child);
  return node;
}
function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") node.className = value;
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children) node.append(child);
  return node;
}
const NARROW = matchMedia("(max-width: 40rem)");
const colour = index => `var(--c${Math.min(index, 7)})`;
function figure(value, digits) {
  if (value === null || value === undefined) return "";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
function short(value) {
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
}
function bytes(value) { return `${figure(value / 1e9, value >= 1e10 ? 1 : 2)} GB`; }
function legend(entries) {
  const box = element("div", { class: "legend" });
  for (const [name, fill] of entries) {
    const item = element("span", {}, name);
    item.style.setProperty("--swatch", fill);
    box.append(item);
  }
  return box;
}

// A logarithmic scale with ticks at 1, 2 and 5 times powers of ten.
function scale(values, from, to) {
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

function frontOf(points) {
  const ordered = [...points].sort((a, b) => a.x - b.x || a.y - b.y);
  let best = Infinity;
  return ordered.filter(point => point.y < best && ((best = point.y), true));
}

function paretoPlot(rows, axis, title, models, open) {
  const points = rows.filter(row => row.ttft_s > 0 && row[axis] > 0).map(row => ({ x: row.ttft_s, y: row[axis], row }));
  if (!points.length) return element("p", { class: "note" }, `No plan among the rows shown has a ${title}.`);
  const width = NARROW.matches ? 340 : 560, height = NARROW.matches ? 270 : 330, left = 46, right = 14, top = 12, bottom = 40;
  const x = scale(points.map(point => point.x), left, width - right);
  const y = scale(points.map(point => point.y), height - bottom, top);
  const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${title} against TTFT in seconds, ${points.length} plans` });
  for (const tick of x.ticks) {
    chart.append(draw("line", { class: "grid", x1: x.place(tick), x2: x.place(tick), y1: top, y2: height - bottom }));
    chart.append(draw("text", { x: x.place(tick), y: height - bottom + 16, "text-anchor": "middle" }, short(tick)));
  }
  for (const tick of y.ticks) {
    chart.append(draw("line", { class: "grid", x1: left, x2: width - right, y1: y.place(tick), y2: y.place(tick) }));
    chart.append(draw("text", { x: left - 6, y: y.place(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  chart.append(draw("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "TTFT, seconds"));
  const shown = models.filter(model => points.some(point => point.row.model === model));
  for (const model of shown) {
    const mine = points.filter(point => point.row.model === model), fill = colour(models.indexOf(model));
    const path = frontOf(mine).map((point, index) => `${index ? "L" : "M"}${x.place(point.x)} ${y.place(point.y)}`).join("");
    chart.append(draw("path", { class: "front", d: path, stroke: fill }));
  }
  for (const point of points.slice(0, 3000)) {
    const { row } = point, name = `${row.task}: ${row.gpus} GPUs, TTFT ${figure(row.ttft_s, 2)} s, ${title} ${figure(point.y, axis === "gpus" ? 0 : 2)}`;
    const mark = draw("circle", { class: "mark", cx: x.place(point.x), cy: y.place(point.y), r: 5, fill: colour(models.indexOf(row.model)), tabindex: 0, role: "button", "aria-label": name }, draw("title", {}, name));
    mark.addEventListener("click", () => open(row));
    mark.addEventListener("keydown", event => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); open(row); } });
    chart.append(mark);
  }
  const box = element("div", {}, chart);
  if (shown.length > 1) box.append(legend(shown.map(model => [model, colour(models.indexOf(model))])));
  return box;
}

function deviceBars(rows) {
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
    const line = element("div", { role: "listitem", style: "display: contents" }, element("span", {}, device), track, element("span", {}, text));
    bars.append(line);
  }
  return bars;
}

function memoryBars(plan) {
  const parts = [...new Set(plan.stages.flatMap(stage => Object.keys(stage.memory_bytes || {})))];
  const box = element("div", {}), bars = element("div", { class: "memory" });
  const used = stage => parts.reduce((sum, part) => sum + (stage.memory_bytes[part] || 0), 0);
  const whole = Math.max(plan.memory_limit || 0, ...plan.stages.map(stage => stage.memory_bytes ? used(stage) : 0));
  plan.stages.forEach((stage, index) => {
    if (!stage.memory_bytes) return;
    const track = element("div", { class: "track", role: "img", "aria-label": parts.map(part => `${part} ${bytes(stage.memory_bytes[part] || 0)}`).join(", ") });
    parts.forEach((part, number) => {
      const size = stage.memory_bytes[part] || 0, block = element("i", { title: `${part}: ${bytes(size)}` });
      block.style.width = `${100 * size / whole}%`;
      block.style.background = colour(number);
      track.append(block);
    });
    bars.append(element("span", {}, `stage ${index}`), track, element("span", {}, `${bytes(used(stage))} of ${bytes(whole)}`));
  });
  box.append(legend(parts.map((part, number) => [part.replaceAll("_", " "), colour(number)])), bars);
  return box;
}

// Prefill: a stage works on one microbatch at a time, in order; a microbatch passes the stages in order.
function timeline(plan) {
  const line = plan.timelines[0], count = line.microbatches;
  const times = plan.stages.map(stage => Object.values(stage.time_ns).reduce((sum, part) => sum + part, 0));
  const group = Math.ceil(count / 48), ends = Array(count).fill(0), rows = [];
  for (const time of times) {
    const bars = [];
    let free = 0;
    for (let batch = 0; batch < count; batch++) {
      const start = Math.max(free, ends[batch]);
      free = ends[batch] = start + time;
      if (batch % group === 0) bars.push({ start, end: free, first: batch, last: batch });
      else Object.assign(bars[bars.length - 1], { end: free, last: batch });
    }
    rows.push(bars);
  }
  return { rows, group, count, end: ends[count - 1], limit: line.ttft_limit_ns };
}

function gantt(plan) {
  const { rows, group, count, end, limit } = timeline(plan);
  const near = limit && limit <= end * 1.6, last = near ? Math.max(end, limit) * 1.02 : end * 1.02;
  const width = NARROW.matches ? 340 : 760, left = 52, right = 12, step = rows.length > 24 ? 12 : 20, top = 6, height = top + rows.length * step + 34;
  const place = time => left + (time / last) * (width - left - right);
  const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Prefill timeline: ${count} microbatches through ${rows.length} stages, the last ends at ${figure(end / 1e9, 3)} s` });
  const size = Math.pow(10, Math.floor(Math.log10(last / 4))), unit = [1, 2, 5, 10].map(k => k * size).find(k => last / k <= (NARROW.matches ? 4 : 6)) || size * 10;
  for (let tick = 0; tick <= last; tick += unit) {
    chart.append(draw("line", { class: "grid", x1: place(tick), x2: place(tick), y1: top, y2: height - 28 }));
    chart.append(draw("text", { x: place(tick), y: height - 14, "text-anchor": "middle" }, `${short(tick / 1e9)} s`));
  }
  rows.forEach((bars, stage) => {
    const y = top + stage * step;
    if (step > 12 || stage % 4 === 0) chart.append(draw("text", { x: left - 6, y: y + step - 6, "text-anchor": "end" }, `stage ${stage}`));
    bars.forEach((bar, index) => {
      const name = bar.first === bar.last ? `microbatch ${bar.first}` : `microbatches ${bar.first} to ${bar.last}`;
      const title = `stage ${stage}, ${name}: ${figure(bar.start / 1e9, 3)} s to ${figure(bar.end / 1e9, 3)} s`;
      chart.append(draw("rect", { x: place(bar.start), y: y + 1, width: Math.max(0.5, place(bar.end) - place(bar.start)), height: step - 3, fill: colour(index % 2 ? 4 : 0), opacity: index % 2 ? 0.75 : 1 }, draw("title", {}, title)));
    });
  });
  if (near) {
    chart.append(draw("line", { class: "limit", x1: place(limit), x2: place(limit), y1: 0, y2: height - 28 }));
    chart.append(draw("text", { x: place(limit) - 4, y: height - 1, "text-anchor": "end" }, `TTFT limit ${short(limit / 1e9)} s`));
  }
  const note = `${count} microbatches per replica${group > 1 ? `, drawn ${group} at a time` : ""}; the last prompt is done at ${figure(end / 1e9, 3)} s` + (limit && !near ? `, the limit is ${short(limit / 1e9)} s` : "");
  return element("div", {}, chart, element("p", { class: "note" }, note));
}

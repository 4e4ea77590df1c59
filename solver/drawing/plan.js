import { NARROW, bytes, colour, counted, draw, element, figure, legend, list, short } from "./dom.js";
import { groupPlans, groupTable, nodeParts } from "./groups.js";

export function memoryBars(plan) {
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

export function gantt(plan) {
  const { rows, group, count, end, limit } = timeline(plan);
  const near = limit && limit <= end * 1.6, last = near ? Math.max(end, limit) * 1.02 : end * 1.02;
  const width = NARROW.matches ? 340 : 760, left = 52, right = 12, step = rows.length > 24 ? 12 : 20, top = 6, height = top + rows.length * step + 34;
  const place = time => left + (time / last) * (width - left - right);
  const chart = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Prefill timeline: ${count} microbatch${count > 1 ? "es" : ""} through ${rows.length} stages, the last ends at ${figure(end / 1e9, 3)} s` });
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
  const note = `${count} microbatch${count > 1 ? "es" : ""} per replica${group > 1 ? `, drawn ${group} at a time` : ""}; the last prompt is done at ${figure(end / 1e9, 3)} s` + (limit && !near ? `, the limit is ${short(limit / 1e9)} s` : "");
  return element("div", {}, chart, element("p", { class: "note" }, note));
}

// What a stage splits beside attention: a dense model has no experts.
function besideAttention(view) {
  return view.routed === false ? "feed-forward" : "experts";
}

// Dense feed-forward parts are cut as attention is: whole on each of its data-parallel ranks.
function degreesBeside(view, stage) {
  return view.routed === false ? [["TP", stage.attn_tp], ["DP", stage.attn_dp]] : [["TP", stage.moe_tp], ["EP", stage.moe_ep]];
}

export function stageTable(found) {
  const titles = ["stage", "layers", "GPUs", "attention TP x DP", `${besideAttention(found)} TP x ${found.routed === false ? "DP" : "EP"}`, "memory", "time per microbatch"];
  const top = element("tr", {}), body = element("tbody", {});
  for (const title of titles) top.append(element("th", { scope: "col", class: "plain" }, title));
  const sum = parts => parts ? Object.values(parts).reduce((total, part) => total + part, 0) : null;
  found.stages.forEach((stage, index) => {
    const memory = sum(stage.memory_bytes), time = sum(stage.time_ns), line = element("tr", {});
    const cells = [index, stage.layers.join(" to "), stage.gpus, `${stage.attn_tp} x ${stage.attn_dp}`, degreesBeside(found, stage).map(([, value]) => value).join(" x "), memory === null ? "" : bytes(memory), time === null ? "" : `${figure(time / 1e6, 2)} ms`];
    for (const text of cells) line.append(element("td", {}, String(text)));
    body.append(line);
  });
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Stages" }, element("table", {}, element("thead", {}, top), body));
}

// Which stage holds which layers: as wide as its layers are many, with its degrees in words.
export function stageStrip(view) {
  const layers = Math.max(...view.stages.map(stage => stage.layers[1])) + 1, strip = element("ol", { class: "strip", "aria-label": "Stages and their layers" });
  view.stages.forEach((stage, index) => {
    const [first, last] = stage.layers, degrees = [["attention TP", stage.attn_tp], ["attention DP", stage.attn_dp], ...degreesBeside(view, stage).map(([name, value]) => [`${besideAttention(view)} ${name}`, value])].filter(([, value]) => value > 1);
    const box = element("li", {}, element("strong", {}, `stage ${index}`), ` layers ${first} to ${last}`, element("br", {}), `${stage.gpus} GPU${stage.gpus > 1 ? "s" : ""}${degrees.length ? `: ${degrees.map(([name, value]) => `${name} ${value}`).join(", ")}` : ""}`);
    box.style.flexGrow = String(Math.max(1, last - first + 1));
    box.style.setProperty("--swatch", colour(index % 8));
    box.title = `${last - first + 1} of ${layers} layers`;
    strip.append(box);
  });
  return strip;
}

// Stages, memory, timeline and texts of an answer, wherever one is shown; replicas that differ group by group.
export function planParts(view, gpus, bound) {
  const box = element("div", {}), proved = bound === null || bound === undefined ? "" : ` (bound ${bound})`, groups = view.groups || [];
  if (groups.length) {
    box.append(element("p", {}, `${counted(gpus, "GPU")}${proved}: ${counted(groups.length, "group")} of replicas.`), groupTable(groups));
    box.append(...nodeParts(view), ...groupPlans(groups, planParts));
  } else if (view.stages.length) {
    const share = view.replicas > 1 ? `${view.replicas} replicas of ` : "";
    box.append(element("p", {}, `${counted(gpus, "GPU")}${proved}: ${share}${counted(view.stages.length, "stage")}${view.microbatch_tokens ? `, microbatches of ${figure(view.microbatch_tokens, 0)} tokens` : ""}.`));
    if (view.stages.length <= 24) box.append(stageStrip(view));
    box.append(stageTable(view));
    if (view.stages.every(stage => stage.memory_bytes)) box.append(element("h3", {}, "Memory per device"), memoryBars(view));
    if (view.timelines.length && view.stages.every(stage => stage.time_ns)) box.append(element("h3", {}, "Prefill timeline"), gantt(view));
  }
  for (const [key, texts] of Object.entries(view.texts)) if (texts.length) box.append(element("details", {}, element("summary", {}, key === "assumptions" ? `${texts.length} assumption${texts.length > 1 ? "s" : ""}` : key.replaceAll("_", " ")), list(texts)));
  return box;
}

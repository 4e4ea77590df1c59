const payload = JSON.parse(document.getElementById("payload").textContent);
const rows = payload.rows.map((row, index) => ({ ...row, index }));
const models = [...new Set(rows.map(row => row.model))];
const devices = [...new Set(rows.map(row => row.device))];
const engines = [...new Set(rows.map(row => row.engine))];
const PAGE = 100;
const every = [
  ["device", "device"], ["model", "model"], ["engine", "engine", "lesser"], ["gpus", "GPUs", "number", 0],
  ...payload.swept.map(axis => [axis, axis]), ["status", "status"], ["bound", "bound", "number lesser", 0], ["ttft_s", "TTFT s", "number", 3],
  ["tpot_ms", "TPOT ms", "number lesser", 1], ["requests_per_s", "requests/s", "number lesser", 2],
  ["output_tokens_per_s", "tokens/s", "number lesser", 0], ["output_tokens_per_s_per_gpu", "tokens/s/GPU", "number lesser", 0],
  ["output_tokens_per_s_per_user", "tokens/s/user", "number lesser", 1], ["price_per_hour", "USD/h", "number", 2],
  ["price_per_million_tokens", "USD/M tokens", "number lesser", 2], ["peak_memory_bytes", "peak memory", "number lesser", "bytes"],
  ["seconds", "solve s", "number lesser", 2], ["proof", "proof", "lesser"], ["reason", "reason", "reason lesser"],
];
// A column that says the same in every row shown is left out.
const columns = () => every.filter(([key]) => !(key === "model" && (state.model || models.length === 1)) && !(key === "engine" && engines.length === 1));
const state = { model: models.length > 1 ? models[0] : "", choices: {}, text: "", statuses: new Set(rows.map(row => row.status)), axis: "price_per_hour", sort: "gpus", down: false, limit: PAGE, open: new Set() };

function visible() {
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter(row => {
    if (state.model && row.model !== state.model) return false;
    if (!state.statuses.has(row.status)) return false;
    for (const [axis, value] of Object.entries(state.choices)) if (value !== "" && row[axis] !== value) return false;
    const text = `${row.task} ${row.engine} ${row.reason || ""}`.toLowerCase();
    return words.every(word => text.includes(word));
  });
}
// "200 ms" sorts before "10 s": texts that are quantities of one kind compare by size.
const FACTOR = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, min: 60, h: 3600 };
function quantity(text) {
  const match = /^\s*([0-9.]+)\s*(ns|us|ms|s|min|h)?\s*$/.exec(text);
  return match ? Number(match[1]) * (FACTOR[match[2]] || 1) : NaN;
}
function compare(a, b) {
  const left = a[state.sort], right = b[state.sort];
  const absent = value => value === null || value === undefined || value === "";
  if (absent(left) || absent(right)) return absent(left) - absent(right) || a.index - b.index;
  const sign = state.down ? -1 : 1;
  if (typeof left === "number") return sign * (left - right) || (a.price_per_hour ?? 1e18) - (b.price_per_hour ?? 1e18) || a.index - b.index;
  const sizes = [quantity(left), quantity(right)];
  if (!sizes.some(Number.isNaN)) return sign * (sizes[0] - sizes[1]) || a.index - b.index;
  return sign * String(left).localeCompare(String(right), "en", { numeric: true }) || a.index - b.index;
}

function choice(label, values, current, all, change) {
  const list = element("select", {});
  if (all !== null) list.append(element("option", { value: "" }, all));
  for (const value of values) list.append(element("option", { value }, value));
  list.value = current;
  list.addEventListener("change", () => { change(list.value); state.limit = PAGE; show(); });
  return element("label", {}, label, list);
}
function filters() {
  const form = document.getElementById("filters");
  if (models.length > 1) form.append(choice("Model", models, state.model, "all models", value => { state.model = value; }));
  for (const axis of ["device", "engine", ...payload.swept]) {
    const values = [...new Set(rows.map(row => row[axis]))].filter(value => value !== null && value !== undefined && value !== "");
    if (values.length > 1) form.append(choice(axis, values, "", "all", value => { state.choices[axis] = value; }));
  }
  const search = element("input", { type: "search", placeholder: "words in task or reason" });
  search.addEventListener("input", () => { state.text = search.value; state.limit = PAGE; show(); });
  form.append(element("label", {}, "Search", search));
  const box = element("fieldset", {}, element("legend", { class: "note" }, "Status"));
  for (const status of [...state.statuses]) {
    const tick = element("input", { type: "checkbox", checked: "" });
    tick.addEventListener("change", () => { state.statuses[tick.checked ? "add" : "delete"](status); show(); });
    box.append(element("label", {}, tick, element("span", { class: `status ${status}` }, status)));
  }
  form.append(box);
  form.addEventListener("submit", event => event.preventDefault());
  form.hidden = false;
}

function head() {
  const line = element("tr", {}, element("th", { scope: "col" }, element("span", { class: "skip" }, "plan")));
  for (const [key, title, kind] of columns()) {
    const sort = state.sort === key ? (state.down ? "descending" : "ascending") : "none";
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      state.down = state.sort === key ? !state.down : false;
      state.sort = key;
      show();
      document.querySelector(`th[data-key="${CSS.escape(key)}"] button`).focus();
    });
    line.append(element("th", { scope: "col", class: kind || "", "aria-sort": sort, "data-key": key }, button));
  }
  return line;
}
function cell(row, [key, , kind, digits]) {
  const value = row[key], box = element("td", { class: kind || "" });
  if (key === "status") box.append(element("span", { class: `status ${value}` }, value));
  else if (digits === "bytes") box.append(value ? bytes(value) : "");
  else if (typeof value === "number") box.append(figure(value, digits || 0));
  else box.append(value ?? "");
  return box;
}
function bodyRow(row) {
  const opened = state.open.has(row.index);
  const button = element("button", { type: "button", class: "open", "aria-expanded": String(opened), "aria-label": `Plan of ${row.task}`, "aria-controls": `plan-${row.index}` }, opened ? "−" : "+");
  button.addEventListener("click", () => toggle(row));
  const line = element("tr", { id: `row-${row.index}` }, element("td", {}, button));
  for (const column of columns()) line.append(cell(row, column));
  return opened ? [line, detailRow(row)] : [line];
}
function detailRow(row) {
  const wide = element("td", { class: "wide", colspan: columns().length + 1 }, plan(row));
  return element("tr", { id: `plan-${row.index}` }, wide);
}
function toggle(row) {
  state.open[state.open.has(row.index) ? "delete" : "add"](row.index);
  const old = document.getElementById(`row-${row.index}`), detail = document.getElementById(`plan-${row.index}`);
  if (detail) detail.remove();
  const fresh = bodyRow(row);
  old.replaceWith(...fresh);
  fresh[0].querySelector("button").focus();
}
function openPlan(row) {
  state.open.add(row.index);
  const place = visible().sort(compare).findIndex(other => other.index === row.index);
  state.limit = Math.max(state.limit, place + 1);
  table();
  const line = document.getElementById(`row-${row.index}`);
  line.scrollIntoView({ block: "start" });
  line.querySelector("button").focus({ preventScroll: true });
}

function plan(row) {
  const box = element("div", { class: "plan" }), found = row.plan === null ? null : payload.plans[row.plan];
  box.append(element("h3", {}, row.task));
  if (row.reason && row.reason !== "proved") box.append(element("p", {}, row.reason));
  if (row.carried_from) box.append(element("p", { class: "note" }, `Carried over from ${row.carried_from}.`));
  if (!found) return box;
  if (found.stages.length) {
    const share = (found.fleet || []).length ? `${found.fleet.join("; ")}; all stages: ` : found.replicas > 1 ? `${found.replicas} replicas of ` : "";
    box.append(element("p", {}, `${row.gpus} GPUs (bound ${row.bound ?? "none"}): ${share}${found.stages.length} stage${found.stages.length > 1 ? "s" : ""}, microbatches of ${figure(found.microbatch_tokens, 0)} tokens.`));
    box.append(stageTable(found));
    if (found.stages.every(stage => stage.memory_bytes)) box.append(element("h3", {}, "Memory per device"), memoryBars(found));
    if (found.timelines.length && found.stages.every(stage => stage.time_ns)) box.append(element("h3", {}, "Prefill timeline"), gantt(found));
  }
  for (const [key, texts] of Object.entries(found.texts)) {
    if (!texts.length) continue;
    const list = element("ul", {});
    for (const text of texts) list.append(element("li", {}, text));
    box.append(element("h3", {}, key.replaceAll("_", " ")), list);
  }
  return box;
}
function stageTable(found) {
  const titles = ["stage", "layers", "GPUs", "attention TP x DP", "experts TP x EP", "memory", "time per microbatch"];
  const top = element("tr", {}), body = element("tbody", {});
  for (const title of titles) top.append(element("th", { scope: "col" }, element("span", { style: "padding: 0.35rem 0.6rem; display: block" }, title)));
  const sum = parts => parts ? Object.values(parts).reduce((total, part) => total + part, 0) : null;
  found.stages.forEach((stage, index) => {
    const memory = sum(stage.memory_bytes), time = sum(stage.time_ns), line = element("tr", {});
    const cells = [index, stage.layers.join(" to "), stage.gpus, `${stage.attn_tp} x ${stage.attn_dp}`, `${stage.moe_tp} x ${stage.moe_ep}`, memory === null ? "" : bytes(memory), time === null ? "" : `${figure(time / 1e6, 2)} ms`];
    for (const text of cells) line.append(element("td", {}, String(text)));
    body.append(line);
  });
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Stages" }, element("table", {}, element("thead", {}, top), body));
}

function table() {
  const shown = visible().sort(compare), part = shown.slice(0, state.limit);
  document.querySelector("#table thead").replaceChildren(head());
  document.querySelector("#table tbody").replaceChildren(...part.flatMap(bodyRow));
  document.getElementById("shown").textContent = `${shown.length} of ${rows.length} rows${part.length < shown.length ? `, the first ${part.length} shown` : ""}`;
  document.getElementById("more").hidden = part.length === shown.length;
}
function charts() {
  const shown = visible(), pressed = document.querySelector(`[data-axis="${state.axis}"]`);
  for (const button of document.querySelectorAll("[data-axis]")) button.setAttribute("aria-pressed", String(button === pressed));
  document.getElementById("pareto").replaceChildren(paretoPlot(shown, state.axis, pressed.textContent, models, openPlan));
  document.getElementById("devices").replaceChildren(deviceBars(shown));
}
function show() { charts(); table(); }

filters();
for (const button of document.querySelectorAll("[data-axis]")) button.addEventListener("click", () => { state.axis = button.dataset.axis; charts(); });
if (!rows.some(row => row.price_per_hour)) state.axis = "gpus";
document.getElementById("more").addEventListener("click", () => { state.limit += 500; table(); });
document.getElementById("charts").hidden = document.getElementById("results").hidden = false;
show();
// report.html#row-12 opens the plan of a row.
function openFromAddress() {
  const match = /^#row-([0-9]+)$/.exec(location.hash), row = match && rows[Number(match[1])];
  if (!row) return;
  state.model = models.length > 1 ? row.model : "";
  const list = document.querySelector("#filters select");
  if (models.length > 1) list.value = row.model;
  show();
  openPlan(row);
}
NARROW.addEventListener("change", show);
addEventListener("hashchange", openFromAddress);
openFromAddress();

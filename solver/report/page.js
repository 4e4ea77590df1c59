import { NARROW, bytes, element, figure } from "./dom.js";
import { deviceBars, paretoPlot } from "./plots.js";
import { planParts } from "./plan.js";

const payload = JSON.parse(document.getElementById("payload").textContent);
// What was asked of every device alike: rows of one question stand together, and only they compare.
function questionWords(row) {
  const swept = payload.swept.filter(axis => axis !== "device" && !(row.workload && /^(limits|workload)\b/.test(axis)) && row[axis] !== null && row[axis] !== undefined).map(axis => `${axis} ${row[axis]}`);
  return [row.model, row.engine, row.workload, row.limits || (row.workload ? "no latency limit" : ""), ...swept].filter(Boolean).join(" · ");
}
const rows = payload.rows.map((row, index) => ({ ...row, index, question: questionWords(row) }));
const questions = [...new Set(rows.map(row => row.question))], order = new Map(questions.map((question, index) => [question, index]));
const models = [...new Set(rows.map(row => row.model))];
const PAGE = 100;
const every = [
  ["device", "device"], ["gpus", "GPUs", "number", 0], ["status", "status"], ["ttft_s", "TTFT s", "number", 3], ["tpot_ms", "TPOT ms", "number lesser", 1],
  ["requests_per_s", "requests /s", "number lesser", 2], ["output_tokens_per_s", "tokens /s", "number lesser", 0],
  ["output_tokens_per_s_per_gpu", "tokens /s /GPU", "number lesser", 0], ["price_per_hour", "USD /h", "number", 2], ["price_kind", "price is", "lesser"],
  ["price_per_million_tokens", "USD /M tokens", "number lesser", 2], ["peak_memory_bytes", "peak memory", "number lesser", "bytes"],
];
// A column that is empty in every row is left out.
const columns = every.filter(([key]) => rows.some(row => row[key] !== null && row[key] !== undefined && row[key] !== ""));
const state = { model: models.length > 1 ? models[0] : "", choices: {}, text: "", statuses: new Set(rows.map(row => row.status)), axis: "price_per_hour", across: "ttft_s", sort: "gpus", down: false, limit: PAGE, open: new Set() };

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
// Rows of one question stay together, whatever they are sorted by.
function compare(a, b) {
  const apart = order.get(a.question) - order.get(b.question);
  if (apart) return apart;
  const left = a[state.sort], right = b[state.sort];
  const absent = value => value === null || value === undefined || value === "";
  if (absent(left) || absent(right)) return absent(left) - absent(right) || a.index - b.index;
  const sign = state.down ? -1 : 1;
  if (typeof left === "number") return sign * (left - right) || (a.price_per_hour ?? 1e18) - (b.price_per_hour ?? 1e18) || a.index - b.index;
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
    if (values.length > 1) form.append(choice(axis === "device" || axis === "engine" ? axis[0].toUpperCase() + axis.slice(1) : axis, values, "", "all", value => { state.choices[axis] = value; }));
  }
  const search = element("input", { type: "search", placeholder: "task or reason" });
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
  for (const [key, title, kind] of columns) {
    const sort = state.sort === key ? (state.down ? "descending" : "ascending") : "none";
    const button = element("button", { type: "button" }, title);
    button.addEventListener("click", () => {
      state.down = state.sort === key ? !state.down : false;
      state.sort = key;
      table();
      document.querySelector(`th[data-key="${CSS.escape(key)}"] button`).focus();
    });
    line.append(element("th", { scope: "col", class: kind || "", "aria-sort": sort, "data-key": key }, button));
  }
  return line;
}
function cell(row, [key, , kind, digits]) {
  const value = row[key], box = element("td", { class: kind || "" });
  if (key === "status") {
    box.append(element("span", { class: `status ${value}` }, value), row.proof === "certified-optimal" ? " certified" : row.status === "feasible" ? `, at least ${row.bound ?? 1}` : "");
    if (!row.gpus && row.reason && row.reason !== "proved") box.append(element("br", {}), element("span", { class: "reason" }, row.reason));
  } else if (digits === "bytes") box.append(value ? bytes(value) : "");
  else if (typeof value === "number") box.append(figure(value, digits || 0));
  else box.append(value ?? "");
  if (key === "tpot_ms" && value && !row.tpot_limit_ms) { box.classList.add("unasked"); box.title = "no limit was asked for: what this plan happens to have"; }
  return box;
}
function bodyRow(row) {
  const opened = state.open.has(row.index);
  const button = element("button", { type: "button", class: "open", "aria-expanded": String(opened), "aria-label": `Plan of ${row.task}`, "aria-controls": `plan-${row.index}` }, opened ? "−" : "+");
  button.addEventListener("click", () => toggle(row));
  const line = element("tr", { id: `row-${row.index}` }, element("td", {}, button));
  for (const column of columns) line.append(cell(row, column));
  return opened ? [line, detailRow(row)] : [line];
}
function detailRow(row) {
  const wide = element("td", { class: "wide", colspan: columns.length + 1 }, plan(row));
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
  box.append(element("h3", {}, row.task), element("p", { class: "note" }, row.question));
  if (row.reason && row.reason !== "proved") box.append(element("p", {}, row.reason));
  const users = row.output_tokens_per_s_per_user ? `${figure(row.output_tokens_per_s_per_user, 1)} tokens/s for each user; ` : "";
  if (row.gpus) box.append(element("p", { class: "note" }, `${users}proof: ${row.proof || "none"}${row.bound ? `; bound ${row.bound}` : ""}${row.seconds === null ? "" : `; solved in ${figure(row.seconds, 2)} s`}.`));
  if (row.carried_from) box.append(element("p", { class: "note" }, `Carried over from ${row.carried_from}.`));
  if (found) box.append(planParts(found, row.gpus, row.bound));
  return box;
}

// Each question's rows under a row that says what was asked.
function grouped(part) {
  let last = null;
  return part.flatMap(row => {
    const lines = bodyRow(row);
    if (row.question === last || questions.length === 1) return lines;
    last = row.question;
    return [element("tr", { class: "question" }, element("th", { colspan: columns.length + 1, scope: "rowgroup" }, element("span", { class: "within" }, row.question))), ...lines];
  });
}
function table() {
  const shown = visible().sort(compare), part = shown.slice(0, state.limit);
  document.querySelector("#table thead").replaceChildren(head());
  document.querySelector("#table tbody").replaceChildren(...grouped(part));
  document.getElementById("shown").textContent = `${shown.length} of ${rows.length} rows${part.length < shown.length ? `, the first ${part.length} shown` : ""}${questions.length === 1 ? `: ${questions[0]}` : `, by question`}`;
  document.getElementById("more").hidden = part.length === shown.length;
}
function press(name, value) {
  for (const button of document.querySelectorAll(`[data-${name}]`)) button.setAttribute("aria-pressed", String(button.dataset[name] === value));
}
function charts() {
  const shown = visible();
  press("axis", state.axis);
  press("across", state.across);
  document.getElementById("pareto").replaceChildren(paretoPlot(shown, state.axis, openPlan, state.across));
  document.getElementById("devices").replaceChildren(deviceBars(shown));
}
function show() { charts(); table(); }

filters();
for (const name of ["axis", "across"])
  for (const button of document.querySelectorAll(`[data-${name}]`)) button.addEventListener("click", () => { state[name] = button.dataset[name]; charts(); });
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

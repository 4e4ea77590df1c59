import { NARROW, bytes, counted, element, figure, list } from "./dom.js";
import { AXES, paretoPlot } from "./plots.js";
import { planParts } from "./plan.js";
import { fleetParts, fleetVerdict } from "./fleet.js";
import { fleetJudgement, judgement } from "./beside.js";
import { Form } from "./form.js";
import { pinLimits, pinOffers, pinPrice } from "./limits.js";
import { hasServices, isFleet } from "./offers.js";
import { LOADS, emptyQuestion, linkOf, loadOf, plain, questionOfLink, startingQuestion } from "./question.js";
import { skuTable, verdict } from "./skus.js";
import { Talk } from "./talk.js";
import { textBox } from "./take.js";

const byId = name => document.getElementById(name);
const talk = new Talk(words => { byId("line").textContent = words; byId("line").hidden = !words; if (!words) start(); });
const form = new Form(after => later(after));
const state = { question: emptyQuestion(), entries: new Map(), chosen: null, axis: "price_per_hour", asked: [], extras: [], timer: 0, idle: 0, started: false, link: null, times: [] };

// For measurements: when the last question was asked, and when its last answer was drawn.
window.shardproof = { state };

async function start() {
  if (state.started) { ask(); return; }
  state.started = true;
  const names = await talk.get("names", {});
  form.fill(names);
  open(fromLink() || startingQuestion());
  document.body.dataset.ready = "yes";
}

function fromLink() {
  try {
    return questionOfLink(location.hash.slice(1));
  } catch {
    byId("line").textContent = "The link holds no question that can be read; the page starts afresh.";
    byId("line").hidden = false;
    return null;
  }
}

function open(question) {
  state.question = question;
  state.chosen = question.devices[0] ?? null;
  form.show(question);
  ask();
}

function later(milliseconds) {
  clearTimeout(state.timer);
  state.timer = setTimeout(ask, milliseconds);
}

function stopAsking() {
  for (const leave of [...state.asked, ...state.extras]) leave();
  state.asked = [];
  state.extras = [];
  clearTimeout(state.idle);
}

const nothingAsked = () => !state.question.fields.model && !state.question.rest.model && !hasServices(state.question);
const devicesAsked = question => isFleet(question) ? [null] : question.devices.length ? question.devices : question.rest.device ? [null] : [];

// Ask every device; answers that still stand there are shown pale until the new ones come.
function ask() {
  clearTimeout(state.timer);
  stopAsking();
  state.link = linkOf(state.question);
  history.replaceState(null, "", `#${state.link}`);
  state.times = [performance.now()];
  const devices = devicesAsked(state.question);
  const before = state.entries;
  state.entries = new Map();
  if (!devices.includes(state.chosen)) state.chosen = devices[0] ?? null;
  if (nothingAsked() || !devices.length) { show(); return; }
  for (const device of devices) {
    const entry = { device: device ?? (isFleet(state.question) ? "the fleet" : "the file's device"), asked: device, answer: before.get(device)?.answer, stale: true };
    state.entries.set(device, entry);
    askOne(entry);
  }
  describe();
  show();
}

function askOne(entry) {
  const settle = change => {
    Object.assign(entry, { stale: false, refused: undefined, done: true }, change);
    showSoon();
    if ([...state.entries.values()].every(other => other.done)) state.idle = setTimeout(askMore, 250);
  };
  state.asked.push(talk.ask("answer", { question: plain(state.question), device: entry.asked }, {
    news: news => { if (!entry.done) { Object.assign(entry, { news, answer: undefined }); showSoon(); } },
    done: answer => settle(answer.ended ? { ended: answer, answer: undefined } : { answer: questioned(answer) }),
    refused: words => settle({ refused: words, answer: undefined }),
  }));
}

// All answers on this page are to one question.
function questioned(answer) {
  answer.row.question = "this question";
  return answer;
}

const chosen = () => state.entries.get(state.chosen);

// With nothing left to answer: certificate, reasons and what each limit costs, for the device that is shown.
function askMore() {
  const entry = chosen();
  if (!entry?.answer) return;
  const options = { question: plain(state.question), device: entry.asked }, load = loadOf(state.question);
  const extra = (kind, done, more) => state.extras.push(talk.ask(kind, { ...options, ...more }, { done, refused: words => { if (kind === "why") showWhy(null, words); } }));
  const { status } = entry.answer.result;
  if (status === "optimal" || status === "infeasible") extra("certify", answer => { entry.answer = questioned(answer); showSoon(); });
  extra("why", found => { entry.why = found; showWhy(found); });
  const { fleet } = entry.answer;
  if (!entry.answer.row.gpus || (!load && !fleet)) return;
  const pin = found => { entry.pins = [...(entry.pins || []), found]; showPins(entry); };
  if (fleet ? fleet.objective === "price" : load !== "request_rate") extra("limits", pin);
  else if (fleet) return;
  else for (const [only, field] of OPEN_INPUTS) if (state.question.fields[field]) extra("limits", pin, { only });
}

// What `sensitivity` moves where requests come by themselves, and the field of each; every one is played for itself.
const OPEN_INPUTS = [["rate", "request_rate"], ["ttft limit", "ttft"], ["tpot limit", "tpot"], ["ttft p99 limit", "ttft_p99"], ["tpot p99 limit", "tpot_p99"]];

function showPins(entry) {
  for (const name of ["ttft", "tpot", "ttft_p99", "tpot_p99", loadOf(state.question)]) form.sliders[name]?.point("", null);
  if (!entry.answer?.fleet) pinPrice(form.sliders.max_price, entry.answer?.row);
  else for (const slider of [form.sliders.max_price, ...form.offerSliders]) slider.point("", null);
  for (const found of entry.pins || []) entry.answer?.fleet ? pinOffers(form.offerSliders, found, entry.answer.fleet) : pinLimits(form.sliders, found, loadOf(state.question));
}

function choose(device) {
  state.chosen = [...state.entries.keys()].find(key => state.entries.get(key).device === device) ?? state.chosen;
  for (const leave of state.extras.splice(0)) leave();
  show();
  askMore();
  document.querySelector(`#skus input[value="${CSS.escape(device)}"]`)?.focus();
}

// Answers that come together are drawn together; once the last one is there nothing waits.
const DRAWN_EVERY = 80;
let frame = 0, pause = 0;
function showSoon() {
  const whole = [...state.entries.values()].every(entry => entry.done), draw = () => { frame ||= requestAnimationFrame(() => { frame = 0; show(); }); };
  if (whole) { clearTimeout(pause); pause = 0; draw(); } else pause ||= setTimeout(() => { pause = 0; draw(); }, DRAWN_EVERY);
}

// What is drawn anew keeps the focus where it was.
function keepingFocus(work) {
  const held = document.activeElement, box = held?.closest?.("#skus, #pareto, #axes"), name = held?.getAttribute?.("aria-label") || held?.textContent;
  work();
  if (!box || held.isConnected) return;
  const again = [...box.querySelectorAll("input, button, [tabindex]")].find(node => (node.getAttribute("aria-label") || node.textContent) === name);
  again?.focus({ preventScroll: true });
}

function show() {
  keepingFocus(showAll);
}

function showAll() {
  const entries = [...state.entries.values()], entry = chosen();
  byId("verdict").textContent = nothingAsked() || !entries.length ? "Choose a model and a device." : entry?.answer?.fleet ? fleetVerdict(entry.answer.fleet, entry.answer.result, entry.answer.row.gpus) : verdict(entry);
  byId("verdict").classList.toggle("stale", Boolean(entry?.stale));
  byId("stop").hidden = !entries.some(other => !other.done);
  byId("skus").hidden = byId("skus").parentNode.hidden = !entries.length || (entries.length === 1 && isFleet(state.question));
  skuTable(byId("skus"), entries, entry?.device, choose);
  const rows = entries.map(other => other.answer?.row).filter(row => row?.gpus);
  byId("plot").hidden = rows.length < 2;
  if (rows.length > 1) showPlot(rows);
  showPlan(entry);
  if (entries.length && entries.every(other => other.done)) state.times[1] = performance.now();
  document.body.dataset.state = !entries.length ? "empty" : entries.every(other => other.done) ? "answered" : "working";
}

function showPlot(rows) {
  const axis = rows.filter(row => row[state.axis]).length > 1 ? state.axis : "gpus";
  byId("axes").replaceChildren(...["price_per_hour", "price_per_million_tokens", "gpus"].map(name => {
    const button = element("button", { type: "button", "aria-pressed": String(name === axis) }, AXES[name][0]);
    button.addEventListener("click", () => { state.axis = name; show(); });
    return button;
  }));
  byId("pareto").replaceChildren(paretoPlot(rows, axis, row => choose(row.device)));
  const unpriced = rows.filter(row => !row.price_per_hour).map(row => row.device);
  byId("unpriced").textContent = unpriced.length ? `Without a price in the catalogue: ${unpriced.join(", ")}.` : "";
}

function showPlan(entry) {
  const answer = entry?.answer;
  for (const name of ["plan", "take"]) byId(name).hidden = !answer;
  byId("why").hidden = !answer || !byId("why-parts").textContent;
  byId("fleet").hidden = !answer?.fleet;
  if (!answer || answer === state.shown) return;
  state.shown = answer;
  const { row, result, view, fleet } = answer;
  byId("plan-title").textContent = row.gpus && !fleet ? `Plan: ${row.gpus} x ${row.device}` : "Assumed";
  byId("why-title").textContent = result.status === "infeasible" ? "Why there is none" : fleet ? "Why not less" : "Why not fewer";
  const { explanation, ...texts } = view.texts;
  byId("plan-parts").replaceChildren(planParts({ ...view, texts, ...(fleet ? { stages: [], groups: [] } : {}) }, row.gpus, row.bound), ...commandParts(answer));
  byId("fleet-parts").replaceChildren(...(fleet ? [fleetParts(fleet, result, result.metrics)] : []));
  showWhy(entry.why || null, "", explanation);
  showPins(entry);
  showTexts(answer);
  byId("versions").textContent = Object.entries(result.versions || {}).map(([name, version]) => `${name} ${version}`).join(", ");
}

function commandParts(answer) {
  const lines = answer.result.engine_flags || [];
  return lines.length ? [element("h3", {}, "How to start it"), textBox("engine command lines", "engine.txt", lines.join("\n"), true)] : [];
}

function showWhy(found, refused, explanation) {
  const texts = explanation ?? chosen()?.answer?.view.texts.explanation ?? [];
  const { reasons = [], conflicts = [], alternatives = [] } = found || {};
  const parts = [...reasons, ...conflicts.map(one => one.words), ...alternatives.map(one => `or with ${one}`)];
  const lines = [...new Set([...parts, ...texts])];
  byId("why").hidden = !lines.length && !refused;
  byId("why-parts").replaceChildren(lines.length ? list(lines) : "", refused ? element("p", { class: "note" }, refused) : "");
}

function showTexts(answer) {
  const { written } = answer, link = `${location.origin}/#${state.link}`, opened = new Set([...document.querySelectorAll("#texts details[open] summary")].map(item => item.textContent));
  const box = (title, name, text) => textBox(title, name, text, opened.has(title));
  byId("texts").replaceChildren(
    box("Command line", "question.sh", written.command + (written.needs_file ? "   # question.yaml: the instance file below" : "")),
    box("Instance file", "question.yaml", written.file), box("Link to this question", "question.txt", link),
    ...(answer.plan ? [box("Plan", "plan.json", JSON.stringify(answer.plan, null, 1))] : []),
  );
  byId("export").disabled = !answer.plan;
}

// What the catalogue knows of the model, once its name is whole.
function describe() {
  const name = state.question.fields.model, facts = byId("model-facts");
  if (state.described === name) return;
  state.described = name;
  facts.textContent = "";
  if (!name || state.question.rest.model) return;
  talk.ask("model", { name }, {
    done: ({ model }) => { if (model && name === state.question.fields.model) facts.textContent = `${model.name}: ${figure(model.parameters / 1e9, 1)} B parameters${model.active_parameters < model.parameters ? `, ${figure(model.active_parameters / 1e9, 1)} B active` : ""}, ${bytes(model.weight_bytes)} of weights, ${counted(model.layers, "layer")}, up to ${figure(model.max_position, 0)} tokens`; },
    refused: () => {},
  });
}

async function attempt(button, error, work) {
  error.textContent = "";
  button.disabled = true;
  try {
    await work();
  } catch (problem) {
    error.textContent = problem.message;
  } finally {
    button.disabled = false;
  }
}

// A question that says no device is asked of those that were asked before.
function opened(question) {
  if (!question.devices.length && !question.rest.device && !isFleet(question)) question.devices = state.question.devices;
  open(question);
}

byId("stop").addEventListener("click", () => {
  for (const entry of state.entries.values()) entry.stopped = !entry.done;
  for (const leave of state.asked) leave("stop");
});
byId("read").addEventListener("click", () => attempt(byId("read"), byId("pasted-error"), async () => {
  const question = await talk.get("read", { text: byId("pasted").value });
  opened(question);
}));
byId("judge").addEventListener("click", () => attempt(byId("judge"), byId("judge-error"), async () => {
  const text = byId("by-hand").value, entry = chosen();
  byId("judged").replaceChildren(element("p", {}, "Judging ..."));
  try {
    const tree = await talk.get("audit", { question: plain(state.question), device: entry?.asked ?? null, text });
    byId("judged").replaceChildren(tree.fleet ? fleetJudgement(tree.fleet, entry?.answer?.fleet?.unit) : judgement(text, tree, entry?.answer?.row));
  } catch (problem) {
    byId("judged").replaceChildren();
    throw problem;
  }
}));
byId("export").addEventListener("click", () => attempt(byId("export"), byId("export-error"), async () => {
  byId("files").replaceChildren();
  const entry = chosen(), found = await talk.get("export", { question: plain(state.question), device: entry.asked, plan: entry.answer.plan, target: byId("target").value });
  byId("files").replaceChildren(...Object.entries(found.files).map(([name, text]) => textBox(name, name, text, false)));
}));

function base64Of(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result).split(",", 2)[1] || "");
    reader.onerror = () => failed(new Error(`${file.name}: cannot be read`));
    reader.readAsDataURL(file);
  });
}

async function drop(file) {
  await attempt(byId("config"), byId("pasted-error"), async () => {
    if (file.size > 1400000) throw new Error(`${file.name}: at most 1.4 MB; compress or cut it`);
    const found = await talk.get("drop", { data: await base64Of(file), name: file.name });
    if (found.question) { opened(found.question); byId("dropped").textContent = `${file.name}: ${found.shown}.`; return; }
    const { fields } = state.question;
    if (found.model) {
      delete fields.model;
      state.question.rest = { ...state.question.rest, model: found.model };
    } else {
      if (found.field === "trace") for (const name of ["isl", "osl", ...LOADS]) delete fields[name];
      fields[found.field] = found.value;
      byId("dropped").textContent = `${file.name}: ${found.shown}.`;
    }
    form.show(state.question);
    ask();
  });
  if (byId("pasted-error").textContent) byId("model-facts").textContent = byId("pasted-error").textContent;
}
byId("config").addEventListener("change", event => { if (event.target.files[0]) drop(event.target.files[0]); });
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => { event.preventDefault(); if (event.dataTransfer.files[0]) drop(event.dataTransfer.files[0]); });
addEventListener("hashchange", () => {
  const question = fromLink();
  if (question && linkOf(question) !== state.link) open(question);
});
NARROW.addEventListener("change", show);

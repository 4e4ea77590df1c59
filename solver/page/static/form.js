import { bytes, counted, element, figure } from "./dom.js";
import { Slider } from "./limits.js";
import { LOADS, loadOf } from "./question.js";

// Fields that have a place of their own; all other flags stand under "everything else".
const PLACED = ["model", "engine", "isl", "osl", ...LOADS, "ttft", "tpot", "max_price", "max_gpus"];
export const OTHERS = {
  weights: "weights in, e.g. fp8", kv_cache: "KV cache in, e.g. fp8", max_gpus: "at most so many GPUs", memory: "usable memory of a device", max_stage_gpus: "widest stage, GPUs",
  gpu_memory_utilization: "share of memory for the engine", max_model_len: "longest request", max_num_seqs: "requests at once", max_num_batched_tokens: "tokens of an iteration",
  block_size: "tokens of a cache block", enforce_eager: "no CUDA graphs: true", ttft_p50: "TTFT, half of the requests", ttft_p90: "TTFT, 90 % of the requests", ttft_p99: "TTFT, 99 % of the requests",
  tpot_p50: "TPOT, half of the requests", tpot_p90: "TPOT, 90 % of the requests", tpot_p99: "TPOT, 99 % of the requests", e2e: "whole answer, mean", e2e_p99: "whole answer, 99 % of the requests", goodput: "share of good requests",
  arrival_cv: "unevenness of arrivals (1: Poisson)", prefix_cache_hit: "share of prompts in the cache", efficiency: "flat or calibrated", mfu: "compute efficiency", load_profile: "expert loads, e.g. zipf:0.9",
  tp: "attention TP of every stage", dp: "attention DP of every stage", ep: "expert EP of every stage", stage_widths: "widths of a stage", serving: "prefill and decode: together, apart or any", transfer_bandwidth: "link between prefill and decode", transfer_setup: "set-up of a transfer",
  trace: "trace of requests (drop its file on the page)",
  rope_scaling: "rope scaling, as JSON", allow_long_max_model_len: "longer than the model's positions: true",
  runtime_reserve: "memory kept by the runtime", margin: "inflate times by", confidence: "doubt about the model, e.g. 90%", replicas: "free or alike",
  speculative_method: "tokens guessed ahead by: mtp, eagle, eagle3, draft, ngram", draft_tokens: "tokens guessed in an iteration", acceptance: "chance that a guess holds, e.g. 0.7", acceptance_length: "mean tokens of an iteration instead", draft_model: "model or head that guesses", speculative_config: "all of it, as vLLM's JSON",
};
const LOAD_SLIDERS = {
  batch_size: ["Requests in the burst", "count", 1, 4096, "32"],
  concurrency: ["Requests in flight", "count", 1, 4096, "32"],
  request_rate: ["Requests per second", "rate", 0.01, 1000, "4/s"],
};

export class Form {
  // changed(question, after_ms): something was typed, chosen or moved.
  constructor(changed) {
    this.changed = changed;
    this.byId = name => document.getElementById(name);
    this.sliders = {};
    this.inputs = { model: this.byId("model"), isl: this.byId("isl"), osl: this.byId("osl") };
    const write = (name, value, after) => this.write(name, value, after);
    for (const [name, title, kind, from, to, hint] of [
      ["ttft", "Time to first token (TTFT)", "time", 0.01, 600, "no limit"],
      ["tpot", "Time per output token (TPOT)", "time", 0.001, 1, "no limit"],
      ["max_price", "Price of all GPUs", "price", 0.1, 10000, "no limit"],
    ]) this.byId("limits").append((this.sliders[name] = new Slider(name, title, kind, from, to, hint, write)).box);
    for (const [name, input] of Object.entries(this.inputs)) input.addEventListener("input", () => write(name, input.value, 250));
    for (const [name, title] of Object.entries(OTHERS)) {
      const input = this.inputs[name] = element("input", { id: name, spellcheck: "false" });
      input.addEventListener("input", () => write(name, input.value, 250));
      this.byId("others").append(element("label", { for: name }, title, input));
    }
    this.byId("engine").addEventListener("change", event => write("engine", event.target.value, 0));
    for (const radio of document.querySelectorAll("#kinds input")) radio.addEventListener("change", () => this.changeLoad(radio.value));
    this.byId("device-search").addEventListener("input", () => this.filterDevices());
    this.byId("question").addEventListener("submit", event => event.preventDefault());
  }

  fill(names) {
    this.names = names;
    this.byId("models").replaceChildren(...names.models.flatMap(model => [model.name, ...model.ids].map(id => element("option", { value: id }))));
    this.byId("engine").replaceChildren(...names.engines.map(name => element("option", { value: name }, name)));
    this.byId("target").replaceChildren(...names.targets.map(name => element("option", { value: name }, name)));
    this.ticks = new Map();
    this.byId("devices").replaceChildren(...names.devices.map(device => this.tick(device)));
  }

  tick(device) {
    const box = element("input", { type: "checkbox", value: device.name }), price = device.price_per_hour ? `, ${figure(device.price_per_hour, 2)} USD/h ${device.price_basis?.kind || ""}` : "";
    box.addEventListener("change", () => {
      const devices = this.question.devices.filter(name => name !== device.name);
      if (box.checked) devices.push(device.name);
      this.question.devices = devices;
      this.countDevices();
      this.changed(0);
    });
    const label = element("label", {}, box, ` ${device.name} `, element("span", { class: "note" }, `${bytes(device.memory_bytes)}${price}`));
    label.dataset.words = `${device.name} ${device.vendor} ${device.architecture} ${bytes(device.memory_bytes)}`.toLowerCase();
    this.ticks.set(device.name, box);
    return label;
  }

  filterDevices() {
    const words = this.byId("device-search").value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const label of this.byId("devices").children) label.hidden = !words.every(word => label.dataset.words.includes(word));
  }

  countDevices() {
    const chosen = this.question.devices;
    this.byId("devices-count").textContent = chosen.length ? `${counted(chosen.length, "device")}: ${chosen.join(", ")}` : "none chosen";
  }

  write(name, value, after) {
    if (value.trim() === "") delete this.question.fields[name];
    else this.question.fields[name] = value.trim();
    if (name === "model") delete this.question.rest.model;
    this.showRest();
    this.changed(after);
  }

  changeLoad(name) {
    const fields = this.question.fields;
    for (const other of LOADS) if (other !== name) delete fields[other];
    fields[name] ??= LOAD_SLIDERS[name][4];
    this.showLoad();
    this.changed(0);
  }

  showLoad() {
    const load = loadOf(this.question), box = this.byId("load");
    for (const name of LOADS) delete this.sliders[name];
    for (const radio of document.querySelectorAll("#kinds input")) radio.checked = radio.value === load;
    if (!load) { box.replaceChildren(); return; }
    const [title, kind, from, to, hint] = LOAD_SLIDERS[load];
    this.sliders[load] = new Slider(load, title, kind, from, to, hint, (name, value, after) => this.write(name, value, after));
    this.sliders[load].set(this.question.fields[load]);
    box.replaceChildren(this.sliders[load].box);
  }

  showRest() {
    const rest = Object.keys(this.question.rest), line = this.byId("rest"), model = this.question.rest.model;
    line.hidden = !rest.length;
    const drop = element("button", { type: "button" }, "Leave it out");
    drop.addEventListener("click", () => { this.question.rest = {}; this.showRest(); this.changed(0); });
    line.replaceChildren(`From a file: ${rest.map(key => key === "model" && model?.name ? `model ${model.name}` : key).join(", ")}. `, drop);
  }

  show(question) {
    this.question = question;
    const { fields } = question;
    for (const [name, input] of Object.entries(this.inputs)) input.value = fields[name] ?? "";
    if (question.rest.model?.name) this.inputs.model.value = question.rest.model.name;
    this.showEngine(fields.engine || "any");
    for (const name of ["ttft", "tpot", "max_price"]) this.sliders[name].set(fields[name] ?? "");
    for (const [name, box] of this.ticks) box.checked = question.devices.includes(name);
    this.byId("more").open ||= Object.keys(fields).some(name => !PLACED.includes(name));
    this.countDevices();
    this.showLoad();
    this.showRest();
  }

  // An engine may be asked for with its version, which no list has.
  showEngine(engine) {
    const list = this.byId("engine");
    if (![...list.options].some(option => option.value === engine)) list.append(element("option", { value: engine }, engine));
    list.value = engine;
  }
}

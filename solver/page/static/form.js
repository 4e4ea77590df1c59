import { bytes, counted, element, figure } from "./dom.js";
import { Slider } from "./limits.js";
import { addOffer, asFleet, dialsOf, dropOffer, hasServices, isFleet, offersOf, sideBySide, spareOf, writeDial, writeOffer } from "./offers.js";
import { LOADS, loadOf } from "./question.js";

// Fields that have a place of their own; all other flags stand under "everything else".
const PLACED = ["model", "engine", "isl", "osl", ...LOADS, "ttft", "tpot", "ttft_p99", "tpot_p99", "max_price", "max_gpus", "devices", "objective", "spare"];
export const OTHERS = {
  weights: "weights in, e.g. fp8", kv_cache: "KV cache in, e.g. fp8", max_gpus: "at most so many GPUs", memory: "usable memory of a device", max_stage_gpus: "widest stage, GPUs",
  gpu_memory_utilization: "share of memory for the engine", max_model_len: "longest request", max_num_seqs: "requests at once", max_num_batched_tokens: "tokens of an iteration",
  block_size: "tokens of a cache block", enforce_eager: "no CUDA graphs: true", ttft_p50: "TTFT, half of the requests", ttft_p90: "TTFT, 90 % of the requests",
  tpot_p50: "TPOT, half of the requests", tpot_p90: "TPOT, 90 % of the requests", e2e: "whole answer, mean", e2e_p99: "whole answer, 99 % of the requests", goodput: "share of good requests",
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
      ["ttft_p99", "TTFT of 99 % of the requests", "time", 0.01, 600, "no limit"],
      ["tpot_p99", "TPOT of 99 % of the requests", "time", 0.001, 1, "no limit"],
    ]) this.byId(name.endsWith("p99") ? "percentiles" : "limits").append((this.sliders[name] = new Slider(name, title, kind, from, to, hint, write)).box);
    for (const [name, input] of Object.entries(this.inputs)) input.addEventListener("input", () => write(name, input.value, 250));
    for (const [name, title] of Object.entries(OTHERS)) {
      const input = this.inputs[name] = element("input", { id: name, spellcheck: "false" });
      input.addEventListener("input", () => write(name, input.value, 250));
      this.byId("others").append(element("label", { for: name }, title, input));
    }
    this.byId("engine").addEventListener("change", event => write("engine", event.target.value, 0));
    this.byId("objective").addEventListener("change", event => this.writeOver("objective", event.target.value, 0));
    this.byId("spare").addEventListener("input", event => this.writeOver("spare", event.target.value, 250));
    for (const radio of document.querySelectorAll("#way input")) radio.addEventListener("change", () => this.changeWay(radio.value === "fleet"));
    for (const radio of document.querySelectorAll("#kinds input")) radio.addEventListener("change", () => this.changeLoad(radio.value));
    this.byId("device-search").addEventListener("input", () => this.filterDevices());
    this.byId("question").addEventListener("submit", event => event.preventDefault());
  }

  fill(names) {
    this.known = new Map(names.devices.map(device => [device.name, device]));
    this.byId("models").replaceChildren(...names.models.flatMap(model => [model.name, ...model.ids].map(id => element("option", { value: id }))));
    this.byId("engine").replaceChildren(...names.engines.map(name => element("option", { value: name }, name)));
    this.byId("target").replaceChildren(...names.targets.map(name => element("option", { value: name }, name)));
    this.ticks = new Map();
    this.byId("devices").replaceChildren(...names.devices.map(device => this.tick(device)));
  }

  tick(device) {
    const box = element("input", { type: "checkbox", value: device.name }), price = device.price_per_hour ? `, ${figure(device.price_per_hour, 2)} USD/h ${device.price_basis?.kind || ""}` : "";
    box.addEventListener("change", () => {
      if (isFleet(this.question)) this.tickOffer(device.name, box.checked);
      else this.question.devices = [...this.question.devices.filter(name => name !== device.name), ...(box.checked ? [device.name] : [])];
      this.showDevices();
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

  // The last offer stays: without any there is no fleet.
  tickOffer(device, ticked) {
    if (ticked) addOffer(this.question, device);
    else for (let place = offersOf(this.question).length - 1; place >= 0; place--) if (offersOf(this.question)[place].device === device && offersOf(this.question).length > 1) dropOffer(this.question, place);
  }

  // Offers that a switch to devices side by side takes out come back with the switch to a fleet.
  changeWay(fleet) {
    const { question } = this, names = ["devices", "objective", "spare", "placement", "resolution"];
    if (!fleet) {
      this.offered = names.map(name => [name, question.fields[name], question.rest[name]]);
      sideBySide(question, this.ticks);
    } else if (this.offered) {
      for (const [name, field, rest] of this.offered) {
        if (field !== undefined) question.fields[name] = field;
        if (rest !== undefined) question.rest[name] = rest;
      }
      this.offered = null;
      question.devices = [];
    } else asFleet(question, this.known);
    this.show(question);
    this.changed(0);
  }

  // What a file may say in another form is said by the field alone.
  writeOver(name, value, after) {
    delete this.question.rest[name];
    this.write(name, value, after);
  }

  showDevices() {
    const fleet = isFleet(this.question), offers = offersOf(this.question), chosen = fleet ? offers.map(offer => offer.name) : this.question.devices;
    for (const [name, box] of this.ticks) box.checked = fleet ? offers.some(offer => offer.device === name) : chosen.includes(name);
    for (const radio of document.querySelectorAll("#way input")) radio.checked = (radio.value === "fleet") === fleet;
    this.byId("devices-count").textContent = chosen.length ? `${counted(chosen.length, fleet ? "offer" : "device")}: ${chosen.join(", ")}` : "none chosen";
    this.byId("fleet-box").hidden = !fleet;
    if (fleet) this.showOffers(offers);
  }

  showOffers(offers) {
    this.offerSliders = [];
    this.byId("offers").replaceChildren(...offers.map((offer, place) => {
      const price = this.known.get(offer.device)?.price_per_hour, box = element("fieldset", { class: "offer" }, element("legend", {}, offer.name, offer.serves?.length ? ` for ${offer.serves.join(", ")}` : ""));
      if (offer.unread) { box.append(element("p", { class: "error" }, "is no offer; write for example h100-sxm=3x8@2.40 USD/h")); return box; }
      const change = key => (_, value, after) => { writeOffer(this.question, place, { [key]: value.trim() }); this.showRest(); this.changed(after); };
      const there = new Slider(`there-${place}`, "There are, GPUs or nodes", "there", 1, 512, "any number", change("there"));
      const each = new Slider(`price-${place}`, "Price of one GPU", "price", 0.05, 50, price ? `${figure(price, 2)} USD/h` : "no price", change("price"), price ?? null);
      there.set(offer.there);
      each.set(offer.price);
      this.offerSliders[place] = each;
      box.append(there.box, each.box);
      return box;
    }));
    this.byId("objective").value = this.question.fields.objective || this.question.rest.objective || "gpus";
    this.byId("spare").value = spareOf(this.question);
  }

  // Services of a file: a slider for each load and limit; model and workload of the page's own make way for them.
  showServices() {
    const has = hasServices(this.question), holds = name => this.question.fields[name] !== undefined && this.question.fields[name] !== "";
    this.byId("model-label").hidden = has && !holds("model");
    for (const name of ["kinds", "tokens", "load"]) this.byId(name).hidden = has && !["isl", "osl", ...LOADS].some(holds);
    this.byId("services").replaceChildren(...dialsOf(this.question).map((dial, place) => {
      const slider = new Slider(`service-${place}`, dial.title, dial.kind, dial.from, dial.to, "no limit", (_, value, after) => { writeDial(dial, value); this.changed(after); });
      slider.set(String(dial.box[dial.key]));
      return slider.box;
    }));
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
    const load = loadOf(this.question), box = this.byId("load"), { fields } = this.question;
    this.byId("percentiles").hidden = load !== "request_rate" && !fields.trace && !fields.ttft_p99 && !fields.tpot_p99;
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
    drop.addEventListener("click", () => { this.question.rest = {}; this.show(this.question); this.changed(0); });
    line.replaceChildren(`From a file: ${rest.map(key => key === "model" && model?.name ? `model ${model.name}` : key).join(", ")}. `, drop);
  }

  show(question) {
    this.question = question;
    const { fields } = question;
    for (const [name, input] of Object.entries(this.inputs)) input.value = fields[name] ?? "";
    if (question.rest.model?.name) this.inputs.model.value = question.rest.model.name;
    this.showEngine(fields.engine || "any");
    for (const name of ["ttft", "tpot", "max_price", "ttft_p99", "tpot_p99"]) this.sliders[name].set(fields[name] ?? "");
    this.byId("more").open ||= Object.keys(fields).some(name => !PLACED.includes(name));
    this.showDevices();
    this.showLoad();
    this.showServices();
    this.showRest();
  }

  // An engine may be asked for with its version, which no list has.
  showEngine(engine) {
    const list = this.byId("engine");
    if (![...list.options].some(option => option.value === engine)) list.append(element("option", { value: engine }, engine));
    list.value = engine;
  }
}

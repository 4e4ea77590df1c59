import { counted, duration, element, figure } from "./dom.js";
import { roughly } from "./question.js";

// A slider is logarithmic, 0 to 1000; what it says is written into the field beside it, with its unit.
const STEPS = 1000;

function written(kind, value, text) {
  const [, node] = /^\s*\d+\s*(x\s*\d+|nodes?)/i.exec(text) || [], whole = Math.max(1, Math.round(value));
  if (kind === "there") return !node ? String(whole) : node[0].toLowerCase() === "x" ? `${whole}${node}` : `${whole} node${whole > 1 ? "s" : ""}`;
  const rounded = Number(value.toPrecision(2));
  if (kind === "time") return rounded >= 1 ? `${rounded} s` : `${Number((rounded * 1000).toPrecision(2))} ms`;
  if (kind === "price") return `${rounded} USD/h`;
  if (kind === "rate") return `${rounded}/s`;
  return String(Math.max(1, Math.round(rounded)));
}

export class Slider {
  // empty: where the slider stands while nothing is written (null: at its end).
  constructor(name, title, kind, from, to, placeholder, changed, empty = null) {
    Object.assign(this, { name, title, kind, from, to, placeholder, empty });
    this.field = element("input", { id: name, placeholder, spellcheck: "false", "aria-describedby": `${name}-mark` });
    this.range = element("input", { type: "range", min: "0", max: String(STEPS), step: "5", "aria-label": `${title}, slider`, list: `${name}-ticks` });
    this.ticks = element("datalist", { id: `${name}-ticks` });
    this.mark = element("p", { id: `${name}-mark`, class: "note mark-words" });
    this.pin = element("span", { class: "pin", "aria-hidden": "true" });
    this.pin.hidden = true;
    this.box = element("div", { class: "slider" }, element("label", { for: name }, title), this.field, element("div", { class: "rail" }, this.range, this.pin), this.ticks, this.mark);
    this.field.addEventListener("input", () => { this.follow(); changed(name, this.field.value, 250); });
    this.range.addEventListener("input", () => {
      this.field.value = written(kind, this.valueAt(Number(this.range.value)), this.field.value);
      this.tell();
      changed(name, this.field.value, 30);
    });
  }

  valueAt(step) { return this.from * (this.to / this.from) ** (step / STEPS); }
  stepOf(value) { return Math.max(0, Math.min(STEPS, STEPS * Math.log(value / this.from) / Math.log(this.to / this.from))); }
  tell() { this.range.setAttribute("aria-valuetext", this.field.value || this.placeholder); }

  follow() {
    const value = this.field.value.trim() ? roughly(this.field.value) : this.empty;
    this.range.value = value ? String(this.stepOf(value)) : String(STEPS);
    this.tell();
  }

  set(text) {
    if (this.field !== document.activeElement || this.field.value.trim() !== text) this.field.value = text;
    this.follow();
  }

  // Where the answer changes: words for everybody, a pin and a tick of the slider for the eye.
  point(words, value) {
    this.mark.textContent = words;
    this.pin.hidden = !value;
    this.ticks.replaceChildren();
    if (!value) return;
    const step = this.stepOf(value);
    this.pin.style.left = `calc(0.5rem + (100% - 1rem) * ${step / STEPS})`;
    this.ticks.append(element("option", { value: String(Math.round(step)), label: words }));
  }
}

const gpusHold = gpus => `${counted(gpus, "GPU")} ${gpus === 1 ? "holds" : "hold"}`;

// Pins from `sensitivity`: the last value at which as few GPUs are enough. Of requests that come by themselves a plan is
// played: what lies between the last value that it keeps and the first that is refuted is open.
export function pinLimits(sliders, document, load) {
  const names = { "ttft limit": "ttft", "tpot limit": "tpot", "ttft p99 limit": "ttft_p99", "tpot p99 limit": "tpot_p99", rate: "request_rate", [load]: load };
  for (const slack of document.inputs || []) {
    const slider = sliders[names[slack.name]];
    if (!slider) continue;
    const until = slack.optimum_until, falling = slack.name.endsWith("limit"), way = falling ? "down to" : "up to";
    const said = value => falling ? duration(value) : slack.name === "rate" ? `${(value / 3600).toPrecision(3)}/s` : figure(value, 0);
    const own = slack.plan_until === null ? "however far it moves" : `${way} ${said(slack.plan_until)}`;
    const beyond = slack.refuted_beyond !== null && load === "request_rate" ? `; ${falling ? "below" : "above"} ${said(slack.refuted_beyond)} more are needed` : "";
    const place = falling ? until / 1e9 : slack.name === "rate" ? until / 3600 : until;
    if (until === null) slider.point(`${gpusHold(document.gpus)} however far it moves.`, null);
    else slider.point(`${gpusHold(document.gpus)} ${way} ${said(until)}${own.endsWith(said(until)) ? "" : `; this very plan ${own}`}${beyond}.`, place);
  }
}

export function pinPrice(slider, row) {
  if (!slider) return;
  if (row?.gpus && row.price_per_hour) slider.point(`${gpusHold(row.gpus)} down to ${figure(row.price_per_hour, 2)} USD/h (${row.price_kind || "price"} of ${row.device}).`, row.price_per_hour);
  else slider.point(row?.gpus ? `${row.device} has no price in the catalogue.` : "", null);
}

// Between which prices of each offer, one at a time, this fleet stays the best. A pattern is one slider of many offers.
export function pinOffers(sliders, document, fleet) {
  for (const offer of fleet.offers.length === sliders.length ? document.offers || [] : []) {
    const slider = sliders[fleet.offers.findIndex(other => other.name === offer.offer)];
    if (!slider) continue;
    const { lowest, highest } = offer, value = price => `${Number(price.toPrecision(3))}`;
    const range = highest === null ? lowest === null ? "at any price" : `from ${value(lowest)} USD/h a GPU upwards` : `${lowest === null ? "up" : `from ${value(lowest)}`} to ${value(highest)} USD/h a GPU`;
    slider.point(`This fleet stays the best ${range}.`, highest ?? lowest);
  }
}

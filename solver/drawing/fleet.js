import { bytes, counted, element, figure, short } from "./dom.js";
import { groupPlans, groupTable, nodeParts } from "./groups.js";
import { planParts } from "./plan.js";

const amount = (value, unit) => value === null || value === undefined ? "none" : unit === "GPUs" ? counted(value, "GPU") : `${figure(value, 2)} ${unit}`;

// What a fleet comes to, and what no fleet does, in one line.
export function fleetVerdict(fleet, result, gpus) {
  const { objective, unit, value, bound, name } = fleet, most = objective === "load";
  if (result.status === "infeasible") return `${name}: no fleet of these offers keeps every limit.`;
  if (value === null) return `${name}: no fleet found in time${bound === null ? "" : `; none ${most ? "carries more than" : "does with less than"} ${amount(bound, unit)}`}.`;
  const found = `${name}: ${amount(value, unit)}${unit === "GPUs" ? "" : ` with ${counted(gpus, "GPU")}`}`;
  const certified = result.proof.startsWith("certified");
  if (result.status === "optimal") return `${found}; no fleet ${most ? "carries more" : "does with less"}${certified ? " (certified)" : ""}.`;
  return `${found}; no fleet ${most ? "carries more than" : "does with less than"} ${amount(bound, unit)}${certified ? " (certified)" : ""}.`;
}

function boundWords(fleet, result) {
  const { unit, certified_bound: certified, bound, value, objective } = fleet;
  if (value === null || result.status === "infeasible") return "";
  const less = objective === "load" ? "more" : "less";
  if (result.proof === "certified-optimal") return `The checker accepts the proof that ${less} is impossible.`;
  const said = certified === null || certified === bound ? "" : ` Cases alone prove ${amount(certified, unit)}; the rest is the solver's word.`;
  return bound === value ? `The search says that ${less} is impossible.${said}` : `Between ${amount(bound, unit)} and this value it is open.${said}`;
}

function offerTable(fleet) {
  const titles = ["offer", "there are", "used", "USD /h a GPU", "USD /h"].map((text, place) => element("th", { class: place ? "plain number" : "plain", scope: "col" }, text));
  const rows = fleet.offers.map(offer => {
    const there = offer.there_are === null ? "any number" : counted(offer.there_are, "GPU"), kind = offer.price_kind ? ` ${offer.price_kind}` : "";
    const texts = [there, `${figure(offer.used, 0)}${offer.paid > offer.used ? `, ${figure(offer.paid, 0)} paid` : ""}`, offer.price === null ? "no price" : `${figure(offer.price, 2)}${kind}`, offer.price_per_hour === null ? "" : figure(offer.price_per_hour, 2)];
    return element("tr", offer.used ? {} : { class: "unused" }, element("th", { scope: "row" }, offer.name), ...texts.map(text => element("td", { class: "number" }, text)));
  });
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Offers" },
    element("table", {}, element("caption", { class: "skip" }, "Offers"), element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...rows)));
}

function spareTable(fleet) {
  const demands = [...new Set(fleet.demands.map(one => one.name))];
  const titles = ["gone", "GPUs", ...demands].map((text, place) => element("th", { class: place ? "plain number" : "plain", scope: "col" }, text));
  const rows = fleet.spared.slice(0, 40).map(one => element("tr", {}, element("th", { scope: "row", class: "wraps" }, one.gone), element("td", { class: "number" }, one.lost), ...demands.map(name => element("td", { class: "number" }, name in one.carried ? `${figure(100 * one.carried[name], 0)} %` : ""))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What is left" },
    element("table", {}, element("caption", { class: "skip" }, "What the rest carries"), element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...rows)));
}

// Groups, offers, nodes and what is left when something is gone.
export function fleetParts(fleet, result, metrics) {
  const box = element("div", { class: "fleet" });
  if (fleet.groups.length) {
    const facts = [counted(metrics.gpus, "GPU"), metrics.price_per_hour === null ? "" : `${figure(metrics.price_per_hour, 2)} USD/h`, metrics.watts ? `${figure(metrics.watts / 1000, 1)} kW` : "", metrics.ttft_s ? `slowest TTFT ${short(metrics.ttft_s)} s` : "", metrics.tpot_ms ? `slowest TPOT ${short(metrics.tpot_ms)} ms` : "", metrics.peak_memory_bytes ? `at most ${bytes(metrics.peak_memory_bytes)} a GPU` : ""];
    box.append(element("p", {}, `${facts.filter(Boolean).join(", ")}. ${boundWords(fleet, result)}`), groupTable(fleet.groups));
  }
  box.append(element("h3", {}, "Offers"), offerTable(fleet));
  const kinds = new Set(fleet.offers.filter(offer => offer.price_kind).map(offer => offer.price_kind));
  if (kinds.size > 1) box.append(element("p", { class: "note" }, `Prices of several kinds (${[...kinds].join(", ")}) are added up here: what they stand for differs.`));
  box.append(...nodeParts(fleet));
  if (fleet.spared.length) box.append(element("h3", {}, "When something is gone, the rest carries of the demand"), spareTable(fleet));
  box.append(...groupPlans(fleet.groups, planParts));
  return box;
}

import { bytes, colour, counted, element, figure, legend, short } from "./dom.js";
import { planParts } from "./plan.js";

const amount = (value, unit) => value === null || value === undefined ? "none" : unit === "GPUs" ? counted(value, "GPU") : `${figure(value, 2)} ${unit}`;
export const groupName = (group, index) => `group ${index}: ${group.phase ? `${group.phase} of ` : ""}${group.model && group.model !== group.model_name ? `${group.model} (${group.model_name})` : group.model_name || group.takes.map(one => one.name).join(", ")} on ${group.offer}`;
const taken = one => one.rate_per_s === null || one.rate_per_s === undefined ? `${counted(one.requests, "request")} of ${one.name}` : `${short(one.rate_per_s)}/s of ${one.name}`;

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

function groupTable(fleet) {
  const head = ["group", "serves", "on", "replicas", "GPUs each", "GPUs", "USD /h", "each takes at most"];
  const line = (group, index) => {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.setProperty("--swatch", colour(index));
    const serves = group.model && group.model !== group.model_name ? `${group.model}: ${group.model_name}` : group.model_name || "measured rates";
    const texts = [`${serves}${group.phase ? `, ${group.phase}` : ""}${group.engine && group.engine !== "any" ? ` under ${group.engine}` : ""}`, group.offer, figure(group.replicas, 0), figure(group.gpus_each, 0), figure(group.gpus, 0), group.price_per_hour === null ? "" : figure(group.price_per_hour, 2)];
    const cells = texts.map((text, place) => element("td", { class: place > 1 ? "number" : "wraps" }, text));
    return element("tr", {}, element("th", { scope: "row" }, swatch, ` ${index}`), ...cells, element("td", { class: "wraps" }, group.takes.map(taken).join(", ")));
  };
  const titles = head.map((text, place) => element("th", { class: place > 2 && place < 7 ? "plain number" : "plain", scope: "col" }, text));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Groups of the fleet" },
    element("table", {}, element("caption", { class: "skip" }, "Groups of the fleet"), element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...fleet.groups.map(line))));
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

// Nodes that hold the same replicas are drawn once.
function nodesLike(nodes) {
  const found = new Map();
  for (const node of nodes) {
    const key = JSON.stringify([node.offer, node.gpus, node.seats.map(seat => [seat.group, seat.gpus])]);
    if (!found.has(key)) found.set(key, { node, count: 0 });
    found.get(key).count++;
  }
  return [...found.values()];
}

function nodePicture({ node, count }) {
  const cells = Array.from({ length: node.gpus }, () => null), seats = new Map();
  node.seats.forEach((seat, place) => {
    seats.set(seat.group, (seats.get(seat.group) || 0) + 1);
    for (const gpu of seat.gpus) cells[gpu] = { group: seat.group, place };
  });
  const words = [...seats].map(([group, replicas]) => `${counted(replicas, "replica")} of group ${group}`), free = cells.filter(cell => cell === null).length;
  const label = `${node.offer}, ${counted(count, "node")}: ${[...words, ...(free ? [`${counted(free, "GPU")} free`] : [])].join(", ")}`;
  const row = element("span", { class: "gpus", role: "img", "aria-label": label });
  cells.forEach((cell, gpu) => {
    const box = element("i", { class: cell === null ? "free" : cells[gpu - 1]?.place === cell.place ? "same" : "" }, cell === null ? "" : String(cell.group));
    if (cell) box.style.setProperty("--swatch", colour(cell.group));
    row.append(box);
  });
  return element("li", {}, element("span", {}, `${count > 1 ? `${figure(count, 0)} x ` : ""}${node.offer}`), row);
}

function spareTable(fleet) {
  const demands = [...new Set(fleet.demands.map(one => one.name))];
  const titles = ["gone", "GPUs", ...demands].map((text, place) => element("th", { class: place ? "plain number" : "plain", scope: "col" }, text));
  const rows = fleet.spared.slice(0, 40).map(one => element("tr", {}, element("th", { scope: "row", class: "wraps" }, one.gone), element("td", { class: "number" }, one.lost), ...demands.map(name => element("td", { class: "number" }, name in one.carried ? `${figure(100 * one.carried[name], 0)} %` : ""))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What is left" },
    element("table", {}, element("caption", { class: "skip" }, "What the rest carries"), element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...rows)));
}

function groupPlan(group, index) {
  const box = element("details", { class: "text" }, element("summary", {}, groupName(group, index)));
  if (group.shown.length) box.append(element("p", { class: "note" }, `In service: ${group.shown.join("; ")}.`));
  let drawn = false;
  box.addEventListener("toggle", () => {
    if (!drawn) box.append(planParts({ ...group.view, texts: {} }, group.gpus, null));
    drawn = true;
  });
  return box;
}

// Groups, offers, nodes and what is left when something is gone.
export function fleetParts(fleet, result, metrics) {
  const box = element("div", { class: "fleet" });
  if (fleet.groups.length) {
    const facts = [counted(metrics.gpus, "GPU"), metrics.price_per_hour === null ? "" : `${figure(metrics.price_per_hour, 2)} USD/h`, metrics.watts ? `${figure(metrics.watts / 1000, 1)} kW` : "", metrics.ttft_s ? `slowest TTFT ${short(metrics.ttft_s)} s` : "", metrics.tpot_ms ? `slowest TPOT ${short(metrics.tpot_ms)} ms` : "", metrics.peak_memory_bytes ? `at most ${bytes(metrics.peak_memory_bytes)} a GPU` : ""];
    box.append(element("p", {}, `${facts.filter(Boolean).join(", ")}. ${boundWords(fleet, result)}`), groupTable(fleet));
  }
  box.append(element("h3", {}, "Offers"), offerTable(fleet));
  const kinds = new Set(fleet.offers.filter(offer => offer.price_kind).map(offer => offer.price_kind));
  if (kinds.size > 1) box.append(element("p", { class: "note" }, `Prices of several kinds (${[...kinds].join(", ")}) are added up here: what they stand for differs.`));
  if (fleet.nodes.length) {
    box.append(element("h3", {}, "Nodes"), legend(fleet.groups.map((group, index) => [groupName(group, index), colour(index)])), element("ul", { class: "nodes" }, ...nodesLike(fleet.nodes).map(nodePicture)));
    if (fleet.nodes_left_out) box.append(element("p", { class: "note" }, `${counted(fleet.nodes_left_out, "more node")} in the plan.`));
  }
  if (fleet.spared.length) box.append(element("h3", {}, "When something is gone, the rest carries of the demand"), spareTable(fleet));
  if (fleet.groups.some(group => group.view)) box.append(element("h3", {}, "Plan of each group"), ...fleet.groups.flatMap((group, index) => group.view ? [groupPlan(group, index)] : []));
  return box;
}

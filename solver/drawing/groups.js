import { colour, counted, element, figure, legend, short } from "./dom.js";

// Groups of replicas that differ, of one device or of several: what each serves and takes, where it stands, its plan.
const named = group => group.model && group.model !== group.model_name ? `${group.model} (${group.model_name})` : group.model_name || group.takes.map(one => one.name).join(", ");
export const groupName = (group, index) => `group ${index}: ${group.phase ? `${group.phase} of ` : ""}${named(group)} on ${group.offer}`;
const taken = one => one.rate_per_s === null || one.rate_per_s === undefined ? `${counted(one.requests, "request")} of ${one.name}` : `${short(one.rate_per_s)}/s of ${one.name}`;

export function groupTable(groups) {
  const priced = groups.some(group => group.price_per_hour !== null && group.price_per_hour !== undefined), taking = groups.some(group => group.takes.length);
  const head = ["group", "serves", "on", "replicas", "GPUs each", "GPUs", ...(priced ? ["USD /h"] : []), ...(taking ? ["each takes at most"] : [])];
  const line = (group, index) => {
    const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.setProperty("--swatch", colour(index));
    const serves = group.model && group.model !== group.model_name ? `${group.model}: ${group.model_name}` : group.model_name || "measured rates";
    const texts = [`${serves}${group.phase ? `, ${group.phase}` : ""}${group.engine && group.engine !== "any" ? ` under ${group.engine}` : ""}`, group.offer, figure(group.replicas, 0), figure(group.gpus_each, 0), figure(group.gpus, 0), ...(priced ? [group.price_per_hour === null ? "" : figure(group.price_per_hour, 2)] : [])];
    const cells = texts.map((text, place) => element("td", { class: place > 1 ? "number" : "wraps" }, text));
    return element("tr", {}, element("th", { scope: "row" }, swatch, ` ${index}`), ...cells, ...(taking ? [element("td", { class: "wraps" }, group.takes.map(taken).join(", "))] : []));
  };
  const numbers = new Set(["replicas", "GPUs each", "GPUs", "USD /h"]);
  const titles = head.map(text => element("th", { class: numbers.has(text) ? "plain number" : "plain", scope: "col" }, text));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Groups of the fleet" },
    element("table", {}, element("caption", { class: "skip" }, "Groups of the fleet"), element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...groups.map(line))));
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

export function nodeParts({ groups, nodes, nodes_left_out: more }) {
  if (!nodes.length) return [];
  const parts = [element("h3", {}, "Nodes"), legend(groups.map((group, index) => [groupName(group, index), colour(index)])), element("ul", { class: "nodes" }, ...nodesLike(nodes).map(nodePicture))];
  return more ? [...parts, element("p", { class: "note" }, `${counted(more, "more node")} in the plan.`)] : parts;
}

// The plan of each group, drawn when it is opened.
export function groupPlans(groups, draw) {
  const own = groups.flatMap((group, index) => {
    if (!group.view) return [];
    const box = element("details", { class: "text" }, element("summary", {}, groupName(group, index)));
    if (group.shown?.length) box.append(element("p", { class: "note" }, `In service: ${group.shown.join("; ")}.`));
    let drawn = false;
    box.addEventListener("toggle", () => {
      if (!drawn) box.append(draw({ ...group.view, texts: {} }, group.gpus, null));
      drawn = true;
    });
    return [box];
  });
  return own.length ? [element("h3", {}, "Plan of each group"), ...own] : [];
}

// A fleet's question: what is offered, what is asked of each service; read and written wherever the question says it.
const OFFER = /^([^=@:]+)(?::(prefill|decode))?(?:=(?:(\d+)x(\d+)|(\d+)))?(?:@(.+))?$/;

export const isFleet = question => Boolean(question.fields.devices || question.rest.devices);
export const hasServices = question => Boolean(question.rest.models || question.rest.requests);

function listed(question) {
  const { devices } = question.fields.devices ? question.fields : question.rest;
  if (typeof devices === "string") return devices.split(",").map(part => part.trim()).filter(Boolean);
  return Array.isArray(devices) ? devices : [];
}

function ofText(text) {
  const match = OFFER.exec(text.trim());
  if (!match) return { name: text, device: text.split(/[=@:]/)[0], unread: true };
  const [, device, phase, nodes, node, gpus, price] = match;
  return { name: phase ? `${device}, ${phase}` : device, device, phase, there: nodes ? `${nodes}x${node}` : gpus || "", price: price || "" };
}

// Every offer: its device, how many there are (nodes x GPUs, GPUs, or "" without end), and the price of one GPU.
export function offersOf(question) {
  return listed(question).map(item => {
    if (typeof item === "string") return ofText(item);
    const there = item.available || {}, device = typeof item.device === "string" ? item.device : item.device?.name || "device";
    const nodes = there.nodes === undefined ? "" : item.devices_per_node ? `${there.nodes}x${item.devices_per_node}` : `${there.nodes} nodes`;
    return { name: item.name || device, device, there: nodes || (there.gpus === undefined ? "" : String(there.gpus)), price: item.price_per_hour === undefined ? "" : String(item.price_per_hour), serves: item.serves };
  });
}

const textOf = offer => `${offer.device}${offer.phase ? `:${offer.phase}` : ""}${offer.there ? `=${offer.there}` : ""}${offer.price ? `@${offer.price}` : ""}`;

// What was typed into "there are": 3x8, 3 nodes, 20, or nothing.
function available(item, text) {
  const match = /^\s*(\d+)\s*(?:x\s*(\d+)|(nodes?))?\s*$/i.exec(text), changed = { ...item };
  delete changed.available;
  if (!match) return text.trim() ? { ...changed, available: text.trim() } : changed;
  const [, count, node, nodes] = match;
  if (node) return { ...changed, available: { nodes: Number(count) }, devices_per_node: Number(node) };
  return { ...changed, available: nodes ? { nodes: Number(count) } : { gpus: Number(count) } };
}

export function writeOffer(question, place, change) {
  const items = listed(question).map((item, index) => {
    if (index !== place) return item;
    if (typeof item === "string") return textOf({ ...ofText(item), ...change });
    let changed = "there" in change ? available(item, change.there) : { ...item };
    if ("price" in change) { changed = { ...changed, price_per_hour: change.price }; if (!change.price) delete changed.price_per_hour; }
    return changed;
  });
  if (question.fields.devices) question.fields.devices = items.join(",");
  else question.rest.devices = items;
}

// Devices that were ticked become offers, and offers devices side by side.
export function asFleet(question, known) {
  const offered = question.devices.length ? question.devices : ["h100-sxm", "l40s"];
  question.fields.devices = offered.join(",");
  question.devices = [];
  question.fields.objective ??= offered.every(name => known.get(name)?.price_per_hour) ? "price" : "gpus";
}

export function sideBySide(question, known) {
  const names = offersOf(question).map(offer => offer.device).filter(name => known.has(name));
  question.devices = [...new Set([...question.devices, ...names])];
  delete question.fields.devices;
  delete question.rest.devices;
  for (const name of ["objective", "spare", "placement", "resolution"]) { delete question.fields[name]; delete question.rest[name]; }
}

export function addOffer(question, device) {
  if (Array.isArray(question.rest.devices)) question.rest.devices = [...question.rest.devices, { device }];
  else if (question.rest.devices) question.rest.devices = `${question.rest.devices},${device}`;
  else question.fields.devices = question.fields.devices ? `${question.fields.devices},${device}` : device;
}

export function dropOffer(question, place) {
  const items = listed(question).filter((_, index) => index !== place);
  if (question.fields.devices) { if (items.length) question.fields.devices = items.join(","); else delete question.fields.devices; } else if (items.length) question.rest.devices = typeof question.rest.devices === "string" ? items.join(",") : items;
  else delete question.rest.devices;
}

export function spareOf(question) {
  const spare = question.fields.spare ?? question.rest.spare;
  if (spare && typeof spare === "object") return spare.nodes ? `${spare.nodes} node${spare.nodes > 1 ? "s" : ""}` : `${spare.gpus} replica${spare.gpus > 1 ? "s" : ""}`;
  return spare ? String(spare) : "";
}

const LOADS = { batch_size: ["requests in the burst", "count", 1, 4096], concurrency: ["requests in flight", "count", 1, 4096], rate: ["requests per second", "rate", 0.01, 1000] };
const LIMITS = { ttft: ["TTFT", "time", 0.01, 600], tpot: ["TPOT", "time", 0.001, 1], e2e: ["whole answer", "time", 0.1, 3600] };
const isPlain = value => typeof value === "string" || typeof value === "number";

function limitDials(holder, title) {
  const found = [];
  for (const [name, [words, kind, from, to]] of Object.entries(LIMITS)) {
    const limit = holder.limits?.[name];
    if (isPlain(limit)) found.push({ title: `${title}: ${words}`, kind, from, to, box: holder.limits, key: name });
    else if (limit && typeof limit === "object") for (const key of Object.keys(limit)) if (isPlain(limit[key])) found.push({ title: `${title}: ${words}, ${key}`, kind, from, to, box: limit, key });
  }
  return found;
}

function loadDials(holder, title) {
  const load = holder.workload || {};
  return Object.entries(LOADS).filter(([key]) => isPlain(load[key])).map(([key, [words, kind, from, to]]) => ({ title: `${title}: ${words}`, kind, from, to, box: load, key }));
}

// Whatever of the services a slider can move: where it stands, and between which values.
export function dialsOf(question) {
  const { rest } = question, found = [];
  for (const model of Array.isArray(rest.models) ? rest.models : []) {
    const title = model.name || (typeof model.model === "string" ? model.model : model.model?.name) || "service";
    const parts = Array.isArray(model.scenarios) ? model.scenarios.map(one => [one, `${title}, ${one.name || "scenario"}`]) : [];
    for (const [holder, name] of [[model, title], ...parts]) found.push(...loadDials(holder, name), ...limitDials(holder, name));
  }
  const rates = rest.requests;
  if (rates && typeof rates === "object") for (const key of Object.keys(rates)) if (isPlain(rates[key])) found.push({ title: `${key}: requests per second`, kind: "rate", from: 0.01, to: 1000, box: rates, key });
  return found;
}

export function writeDial(dial, text) {
  dial.box[dial.key] = dial.kind === "count" && /^\d+$/.test(text.trim()) ? Number(text) : text.trim();
}

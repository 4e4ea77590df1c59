import { bytes, element, figure } from "./dom.js";
import { fleetVerdict } from "./fleet.js";

const COLUMNS = [
  ["gpus", "GPUs", 0], ["ttft_s", "TTFT s", 3], ["tpot_ms", "TPOT ms", 1], ["requests_per_s", "requests /s", 2],
  ["output_tokens_per_s_per_gpu", "tokens /s /GPU", 0], ["price_per_hour", "USD /h", 2], ["price_per_million_tokens", "USD /M tokens", 2], ["peak_memory_bytes", "memory", "bytes"],
];
const PROOFS = { "certified-optimal": "certified", "certified-gap": "certified gap", "solver-claimed": "proven, not yet certified", none: "" };

// The best so far and what is proved of it, each in the unit of what is asked for.
function soFar({ incumbent, bound, unit = "GPUs", scale = 1 }) {
  const [most, least] = unit === "times the workload" ? [bound, incumbent] : [incumbent, bound ?? (unit === "GPUs" ? 1 : null)];
  const parts = [["at most", most], ["at least", least]].filter(([, value]) => value).map(([words, value]) => `${words} ${Number((value / scale).toFixed(2)).toLocaleString("en")}`);
  return parts.length ? `${parts.join(", ")} ${unit}` : "nothing known";
}

export function stateWords(entry) {
  if (entry.refused) return entry.refused;
  if (entry.ended) return `${soFar(entry.ended)}; ${entry.ended.ended}`;
  if (!entry.answer) return entry.news ? `${soFar(entry.news)} so far (${figure(entry.news.seconds, 1)} s)` : "working";
  const { status, proof } = entry.answer.result, { fleet } = entry.answer;
  if (fleet && status !== "optimal") return fleetVerdict(fleet, entry.answer.result, entry.answer.row.gpus);
  if (status === "infeasible") return `no plan exists with up to ${entry.answer.max_gpus} GPUs`;
  const stopped = entry.stopped ? "stopped: " : "";
  return status === "optimal" ? PROOFS[proof] || status : `${stopped}${status === "feasible" ? "best found" : "nothing found"}; at least ${entry.answer.row.bound ?? 1} GPUs${proof === "certified-gap" ? ", certified" : ""}`;
}

// One row for each device, the fewest GPUs first; a radio button chooses the one that is shown whole.
export function skuTable(table, entries, chosen, choose) {
  const head = element("tr", {}, element("th", { scope: "col" }, "device"));
  for (const [, title] of COLUMNS) head.append(element("th", { scope: "col", class: "number" }, title));
  head.append(element("th", { scope: "col" }, "state"));
  table.querySelector("thead").replaceChildren(head);
  const ordered = [...entries].sort((a, b) => (a.answer?.row.gpus ?? 1e9) - (b.answer?.row.gpus ?? 1e9) || (a.answer?.row.ttft_s ?? 1e9) - (b.answer?.row.ttft_s ?? 1e9));
  table.querySelector("tbody").replaceChildren(...ordered.map(entry => skuRow(entry, chosen, choose)));
}

function skuRow(entry, chosen, choose) {
  const pick = element("input", { type: "radio", name: "chosen", value: entry.device, "aria-label": `show the plan on ${entry.device}` });
  pick.checked = entry.device === chosen;
  pick.addEventListener("change", () => choose(entry.device));
  const line = element("tr", { class: `${entry.device === chosen ? "chosen" : ""} ${entry.stale ? "stale" : ""}` }, element("th", { scope: "row" }, element("label", { class: "pick" }, pick, entry.device)));
  line.dataset.device = entry.device;
  const row = entry.answer?.row;
  for (const [key, , digits] of COLUMNS) {
    const value = row?.[key], text = value === null || value === undefined ? "" : digits === "bytes" ? bytes(value) : figure(value, digits);
    const cell = element("td", { class: `number${key === "tpot_ms" && !row?.tpot_limit_ms ? " unasked" : ""}` }, text);
    if (key === "price_per_hour" && text) cell.append(element("br", {}), element("span", { class: "note" }, row.price_kind || ""));
    line.append(cell);
  }
  const engine = entry.answer?.result.engine, under = row?.engine === "any" && engine && engine !== "any" ? `under ${engine}; ` : "";
  line.append(element("td", { class: "state" }, under + stateWords(entry)));
  return line;
}

export function verdict(entry) {
  if (!entry) return "Choose a model and a device.";
  if (entry.refused) return entry.refused;
  if (!entry.answer) return `${entry.device}: ${stateWords(entry)}`;
  const { row, result, max_gpus: most } = entry.answer, name = `${row.model} on ${row.device}`;
  if (result.status === "infeasible") return `${name}: no plan exists with up to ${most} GPUs.`;
  if (!row.gpus) return `${name}: nothing found in time; at least ${row.bound ?? 1} GPUs are needed.`;
  const fewer = result.status === "optimal" ? row.gpus === 1 ? "none has fewer" : `${row.gpus - 1} ${row.gpus === 2 ? "is" : "are"} impossible` : `at least ${row.bound ?? 1} are needed`;
  const proof = result.proof.startsWith("certified") ? " (certified)" : "";
  return `${name}: ${row.gpus} GPU${row.gpus === 1 ? "" : "s"}; ${fewer}${proof}.`;
}

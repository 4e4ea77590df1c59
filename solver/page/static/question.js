// The question: fields under the names of flags, devices, and the rest of an instance file; and its link.
export const LOADS = ["batch_size", "concurrency", "request_rate"];

export function emptyQuestion() {
  return { fields: {}, devices: [], rest: {} };
}

export function startingQuestion() {
  return {
    fields: { model: "qwen3-32b", engine: "vllm", isl: "2048", osl: "512", concurrency: "32", ttft: "2 s", tpot: "50 ms", max_gpus: "64" },
    devices: ["h100-sxm", "h200-sxm", "b200-sxm", "mi300x", "l40s"], rest: {},
  };
}

function toBase64(text) {
  const bytes = new TextEncoder().encode(text);
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join("")).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function fromBase64(text) {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(binary, mark => mark.charCodeAt(0)));
}

// model=...&device=a,b&isl=2048&file=...: flags by their names, and what no flag says as JSON.
export function linkOf(question) {
  const parts = Object.entries(question.fields).filter(([, value]) => value !== "" && value !== null).map(([name, value]) => `${name.replaceAll("_", "-")}=${encodeURIComponent(value)}`);
  if (question.devices.length) parts.push(`device=${question.devices.map(encodeURIComponent).join(",")}`);
  if (Object.keys(question.rest).length) parts.push(`file=${toBase64(JSON.stringify(question.rest))}`);
  return parts.join("&");
}

// Returns null where a link holds no question.
export function questionOfLink(text) {
  const question = emptyQuestion();
  let some = false;
  for (const part of text.split("&")) {
    const place = part.indexOf("="), name = part.slice(0, place).replaceAll("-", "_");
    if (place < 1 || name === "token") continue;
    some = true;
    const value = part.slice(place + 1);
    if (name === "device") question.devices = value.split(",").filter(Boolean).map(decodeURIComponent);
    else if (name === "file") question.rest = JSON.parse(fromBase64(value));
    else question.fields[name] = decodeURIComponent(value);
  }
  return some ? question : null;
}

export function loadOf(question) {
  return LOADS.find(name => question.fields[name] !== undefined && question.fields[name] !== "") || null;
}

export function plain(question) {
  return { fields: question.fields, rest: question.rest };
}

// Quantities as people type them, for the place of a slider only: the server alone reads what counts.
const UNITS = { ns: 1e-9, us: 1e-6, ms: 1e-3, s: 1, sec: 1, min: 60, h: 3600, "usd/h": 1, "/s": 1, "/min": 1 / 60, "/h": 1 / 3600, node: 1, nodes: 1, "": 1 };
export function roughly(text) {
  const match = /^\s*([0-9][0-9,]*\.?[0-9]*)\s*([a-z/$]*|x\s*\d+)\s*$/i.exec(String(text ?? ""));
  const factor = match && (/^x/i.test(match[2]) ? 1 : UNITS[match[2].toLowerCase()]);
  return factor ? Number(match[1].replaceAll(",", "")) * factor : null;
}

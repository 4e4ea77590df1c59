import { element, list } from "./dom.js";

const MARKS = { confirmed: "✓", contradicted: "✗", inconsistent: "≠", "not-checkable": "?" };

function claimParts(claim) {
  const value = item => item === null || item === undefined ? "" : typeof item === "number" ? item.toLocaleString("en", { maximumSignificantDigits: 5 }) : String(item);
  const box = element("li", { class: `claim ${claim.verdict}` }, element("strong", {}, `${MARKS[claim.verdict] || ""} ${claim.verdict}`), ` ${claim.text}`);
  if (claim.recomputed !== null && claim.recomputed !== undefined) box.append(`: stated ${value(claim.stated)}, recomputed ${value(claim.recomputed)} ${claim.unit || ""}`);
  if (claim.formula) box.append(element("br", {}), element("code", {}, claim.formula));
  for (const mistake of claim.explained_by || []) box.append(element("br", {}), `explained by: ${mistake}`);
  return box;
}

// Every line of the text as it was pasted, with the judgements of its claims below it.
function lineByLine(text, claims) {
  const byLine = new Map();
  for (const claim of claims) {
    const line = claim.line ?? 0;
    byLine.set(line, [...(byLine.get(line) || []), claim]);
  }
  const lines = text.split("\n"), box = element("ol", { class: "lines" });
  const beyond = [...byLine.keys()].filter(line => line < 1 || line > lines.length).flatMap(line => byLine.get(line));
  lines.forEach((line, index) => {
    const found = byLine.get(index + 1) || [], item = element("li", {}, element("code", { class: "source" }, line || " "));
    if (found.length) item.append(element("ul", {}, ...found.map(claimParts)));
    box.append(item);
  });
  return beyond.length ? [box, element("ul", {}, ...beyond.map(claimParts))] : [box];
}

function completionWords(tree) {
  const best = tree.completion;
  if (!best || !best.gpus) return null;
  return `Its stated parts allow ${best.gpus} GPUs at best (${best.status}).`;
}

export function judgement(text, tree, row) {
  const counts = {};
  for (const claim of tree.claims) counts[claim.verdict] = (counts[claim.verdict] || 0) + 1;
  const words = Object.entries(counts).map(([verdict, count]) => `${count} ${verdict}`).join(", ") || "no claim found";
  const box = element("div", {}, element("p", {}, element("strong", {}, `${tree.claims.length} claims: ${words}; ${tree.violations.length} constraints broken.`)));
  const completion = completionWords(tree);
  if (completion) box.append(element("p", {}, completion));
  if (row?.gpus) box.append(element("p", {}, `The proven plan beside it: ${row.gpus} x ${row.device}, TTFT ${row.ttft_s?.toFixed(2)} s, TPOT ${row.tpot_ms?.toFixed(1)} ms.`));
  if (tree.violations.length) box.append(element("h3", {}, "Broken"), list(tree.violations.map(one => `${one.group}${one.index ? `[${one.index}]` : ""}: ${one.value} over ${one.limit} ${one.unit}`)));
  box.append(element("h3", {}, "Line by line"), ...lineByLine(text, tree.claims));
  if (tree.unread?.length) box.append(element("h3", {}, "Not read"), list(tree.unread.map(one => `line ${one.line}: ${one.text}`)));
  return box;
}

// Fleet plans beside the best fleet, as `compare` holds them.
export function fleetJudgement(tree, unit = "") {
  const said = value => value === null || value === undefined ? "nothing" : `${Number(value.toPrecision(6)).toLocaleString("en")} ${unit}`;
  const box = element("div", {});
  for (const plan of tree.plans) {
    box.append(element("p", {}, element("strong", {}, plan.broken.length ? `${plan.plan}: ${said(plan.value)}; breaks ${plan.broken.length} ${plan.broken.length === 1 ? "thing" : "things"}.` : `${plan.plan}: ${said(plan.value)}; keeps every limit.`)));
    if (plan.broken.length) box.append(list(plan.broken));
  }
  box.append(element("p", {}, `The best fleet beside it: ${said(tree.best)}${tree.proof.startsWith("certified") ? " (certified)" : ""}.`));
  return box;
}

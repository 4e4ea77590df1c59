// Elements and numbers. Every text goes through textContent: names that came from outside are never markup.
const SVG = "http://www.w3.org/2000/svg";

export function draw(name, attributes, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  for (const child of children) node.append(child);
  return node;
}

export function element(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key === "class") node.className = value;
    else if (value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children) node.append(child);
  return node;
}

export const NARROW = matchMedia("(max-width: 40rem)");
export const colour = index => `var(--c${Math.min(index, 7)})`;

export function figure(value, digits) {
  if (value === null || value === undefined) return "";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function short(value) {
  return Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 });
}

export function bytes(value) {
  return `${figure(value / 1e9, value >= 1e10 ? 1 : 2)} GB`;
}

export function duration(nanoseconds) {
  for (const [unit, size] of [["s", 1e9], ["ms", 1e6], ["us", 1e3]])
    if (nanoseconds >= size) return `${short(nanoseconds / size)} ${unit}`;
  return `${nanoseconds} ns`;
}

export const counted = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

export function legend(entries) {
  const box = element("div", { class: "legend" });
  for (const [name, fill, mark] of entries) {
    const item = element("span", mark ? { class: "marked" } : {}, ...(mark ? [element("b", { "aria-hidden": "true" }, mark), " "] : []), name);
    item.style.setProperty("--swatch", fill);
    box.append(item);
  }
  return box;
}

export function list(texts) {
  return element("ul", {}, ...texts.map(text => element("li", {}, text)));
}

import { element } from "./dom.js";

// A text with buttons that copy it and keep it as a file.
export function textBox(title, name, text, open) {
  const copy = element("button", { type: "button" }, "Copy"), keep = element("button", { type: "button" }, "Save");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  keep.addEventListener("click", () => {
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name.split("/").pop() });
    link.click();
    URL.revokeObjectURL(link.href);
  });
  copy.setAttribute("aria-label", `Copy ${title}`);
  keep.setAttribute("aria-label", `Save ${title}`);
  const box = element("details", { class: "text" }, element("summary", {}, title), element("div", { class: "switch" }, copy, keep), element("pre", { tabindex: "0" }, text));
  box.open = Boolean(open);
  return box;
}

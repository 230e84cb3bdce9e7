// For HTML that the server makes anew after every action: clicks and changes become events, and the focus stays.
const tell = (part) => {
  if (part.dataset.action === "copy") {
    navigator.clipboard.writeText(element.querySelector("textarea").value).then(() => { part.textContent = "Copied"; });
    return;
  }
  const value = part.type === "checkbox" ? part.checked : part.tagName === "INPUT" ? Number(part.value) : null;
  trigger("click", { action: part.dataset.action, number: Number(part.dataset.number), value });
};
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-action]");
  if (!button) return;
  if (button.getAttribute("role") === "radio") {
    for (const other of element.querySelectorAll("[role=radio]")) other.setAttribute("aria-checked", String(other === button));
  }
  tell(button);
});
element.addEventListener("change", (event) => {
  if (event.target.matches("input[data-action]")) tell(event.target);
});
element.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  const button = event.target.closest("[role=radio]");
  if (!step || !button) return;
  event.preventDefault();
  const all = [...element.querySelectorAll("[role=radio]")];
  const next = all[(all.indexOf(button) + step + all.length) % all.length];
  next.focus();
  next.click();
});
let held = null;
element.addEventListener("focusin", (event) => { held = event.target.dataset.key ?? null; });
element.addEventListener("focusout", (event) => { if (event.relatedTarget) held = null; });
watch("value", () => {
  if (held && document.activeElement === document.body) {
    element.querySelector(`[data-key="${held}"]`)?.focus({ preventScroll: true });
  }
});

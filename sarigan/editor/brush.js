// A layout that a pointer or the keyboard paints: one pixel of the canvas is one of the layout, so no colour is ever mixed.
// props: width, height, classes [[name, "#rrggbb"], ...]; value: base64 of the class numbers, as the server packs them.
const { width, height, classes } = props;
const Numbers = classes.length <= 256 ? Uint8Array : Uint16Array;
const bytesOf = (color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16)).concat(255);
const shades = new Uint32Array(Uint8Array.from(classes.flatMap(([, color]) => bytesOf(color))).buffer); // of a pixel, RGBA
let layout;
let undone = [], done = [], chosen = Math.min(1, classes.length - 1), size = Math.max(2, Math.round(width / 16)), tool = "brush";
let at = [width >> 1, height >> 1], stroke = null;

const make = (tag, attributes, ...children) => {
  const part = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value);
  part.append(...children);
  return part;
};

// Classes: a radio group, of which the chosen one is in the order of the tab key.
const swatches = classes.map(([name, color], number) => {
  const square = make("span", { class: "square" });
  square.style.background = color;
  return make("button", { type: "button", role: "radio", "data-number": number }, square, name);
});
const group = make("div", { role: "radiogroup", "aria-label": "Class of the brush", class: "classes" }, ...swatches);
const choose = (number) => {
  chosen = number;
  swatches.forEach((swatch, index) => {
    swatch.setAttribute("aria-checked", String(index === number));
    swatch.tabIndex = index === number ? 0 : -1;
  });
};
group.addEventListener("click", (event) => {
  const swatch = event.target.closest("[role=radio]");
  if (swatch) choose(Number(swatch.dataset.number));
});
group.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  choose((chosen + step + classes.length) % classes.length);
  swatches[chosen].focus();
});

const canvas = make("canvas", {
  width, height, tabindex: 0, role: "application",
  "aria-label": `Layout of ${width} x ${height} pixels. Arrow keys move the brush, Space paints, F fills the region.`,
});
const cursor = make("div", { class: "cursor", "aria-hidden": "true" });
const where = make("p", { role: "status", class: "where" });
const pixels = canvas.getContext("2d");
const image = pixels.createImageData(width, height);
const drawn = new Uint32Array(image.data.buffer);
const draw = () => {
  for (let index = 0; index < layout.length; index++) drawn[index] = shades[layout[index]];
  pixels.putImageData(image, 0, 0);
};
const tell = () => {
  where.textContent = `column ${at[0]}, row ${at[1]}: ${classes[layout[at[1] * width + at[0]]][0]}`;
  const shown = tool === "brush" ? size : 1, first = (position) => position - (shown - 1) / 2;
  Object.assign(cursor.style, {
    left: `${(100 * first(at[0])) / width}%`, top: `${(100 * first(at[1])) / height}%`,
    width: `${(100 * shown) / width}%`, height: `${(100 * shown) / height}%`, borderRadius: tool === "brush" ? "50%" : "0",
  });
};

// Pixels whose centre is in the disc of the brush.
const stamp = (x, y) => {
  const shift = size % 2 ? 0 : 0.5, reach = Math.ceil(size / 2);
  for (let row = y - reach; row <= y + reach; row++) {
    for (let column = x - reach; column <= x + reach; column++) {
      const inside = (column - x + shift) ** 2 + (row - y + shift) ** 2 <= (size / 2) ** 2 + 1e-9;
      if (inside && row >= 0 && row < height && column >= 0 && column < width) layout[row * width + column] = chosen;
    }
  }
};
const line = ([x, y], [endX, endY]) => {
  const steps = Math.max(Math.abs(endX - x), Math.abs(endY - y), 1);
  for (let step = 0; step <= steps; step++) {
    stamp(Math.round(x + ((endX - x) * step) / steps), Math.round(y + ((endY - y) * step) / steps));
  }
};
const fill = ([x, y]) => {
  const old = layout[y * width + x], left = [y * width + x];
  while (old !== chosen && left.length) {
    const index = left.pop(), column = index % width;
    if (layout[index] !== old) continue;
    layout[index] = chosen;
    if (column > 0) left.push(index - 1);
    if (column < width - 1) left.push(index + 1);
    if (index >= width) left.push(index - width);
    if (index < width * (height - 1)) left.push(index + width);
  }
};

// What is sent: the value, and an event that asks for pictures.
const send = () => {
  const bytes = new Uint8Array(layout.buffer);
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  props.value = btoa(text);
  trigger("input");
};
const show = (is_new) => {
  draw();
  tell();
  undo.disabled = !done.length;
  redo.disabled = !undone.length;
  if (is_new) send();
};
const keep = () => {
  done.push(layout.slice());
  if (done.length > 100) done.shift();
  undone = [];
};
const swap = (from, to) => {
  if (!from.length) return;
  to.push(layout);
  layout = from.pop();
  show(true);
};
const button = (name, action) => {
  const part = make("button", { type: "button" }, name);
  part.addEventListener("click", action);
  return part;
};
const undo = button("Undo", () => swap(done, undone)), redo = button("Redo", () => swap(undone, done));
const all = button("Fill all", () => { keep(); layout.fill(chosen); show(true); });
const tools = make("select", {}, make("option", { value: "brush" }, "Brush"), make("option", { value: "fill" }, "Fill a region"));
tools.addEventListener("change", () => { tool = tools.value; tell(); });
const range = make("input", { type: "range", min: 1, max: Math.max(4, Math.round(width / 4)), value: size });
range.addEventListener("input", () => { size = Number(range.value); tell(); });
const bar = make("div", { class: "bar" }, make("label", {}, "Tool", tools), make("label", {}, "Brush size", range), undo, redo, all);

const place = (event) => {
  const box = canvas.getBoundingClientRect();
  const inside = (share, count) => Math.min(Math.max(Math.floor(share * count), 0), count - 1);
  return [inside((event.clientX - box.left) / box.width, width), inside((event.clientY - box.top) / box.height, height)];
};
canvas.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  canvas.setPointerCapture(event.pointerId);
  stroke = at = place(event);
  keep();
  if (tool === "fill") fill(at); else stamp(...at);
  show(false);
});
canvas.addEventListener("pointermove", (event) => {
  at = place(event);
  if (stroke && tool === "brush") {
    line(stroke, at);
    stroke = at;
    draw();
  }
  tell();
});
for (const name of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(name, () => {
    if (stroke) show(true);
    stroke = null;
  });
}
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowUp: [0, -1] }[event.key];
  const paints = event.key === " ", fills = event.key.toLowerCase() === "f" && !event.ctrlKey && !event.metaKey;
  if (!step && !paints && !fills) return;
  event.preventDefault();
  if (step) {
    const far = event.shiftKey ? size : 1, bounds = [width, height];
    at = at.map((position, axis) => Math.min(Math.max(position + step[axis] * far, 0), bounds[axis] - 1));
    tell();
    return;
  }
  keep();
  if (fills || tool === "fill") fill(at); else stamp(...at);
  show(true);
});

const received = () => new Numbers(Uint8Array.from(atob(props.value), (letter) => letter.charCodeAt(0)).buffer);
watch("value", () => {
  keep();
  layout = received();
  show(false);
});
layout = received();
element.querySelector(".brush").append(group, bar, make("div", { class: "canvas" }, canvas, cursor), where);
choose(chosen);
show(false);

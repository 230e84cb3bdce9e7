"use strict";
for (const slider of document.querySelectorAll(".slider")) {
  const frames = JSON.parse(slider.querySelector("script").textContent);
  const image = slider.querySelector("img");
  const input = slider.querySelector("input");
  const output = slider.querySelector("output");
  const show = () => {
    const frame = frames[Number(input.value)];
    image.src = frame.picture;
    image.alt = frame.alt;
    output.textContent = frame.label;
    input.setAttribute("aria-valuetext", frame.label);
  };
  input.addEventListener("input", show);
  show();
}
// What is cut at the right edge fades there, to show that it scrolls.
const sides = [...document.querySelectorAll(".sheet, .table, pre")];
const mark = (side) => side.classList.toggle("more", side.scrollLeft + side.clientWidth < side.scrollWidth - 1);
const watched = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
for (const side of sides) {
  side.addEventListener("scroll", () => mark(side), { passive: true });
  watched.observe(side);
}

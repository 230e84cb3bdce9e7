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

"use strict";
const cards = Array.from(document.querySelectorAll("article"));
const home = document.getElementById("cards");
const count = document.getElementById("shown");
const byNumber = (a, b) => a.dataset.number - b.dataset.number;
const orders = {
  scanned: byNumber,
  high: (a, b) => b.dataset.probability - a.dataset.probability || byNumber(a, b),
  low: (a, b) => a.dataset.probability - b.dataset.probability || byNumber(a, b),
  name: (a, b) => (a.dataset.name < b.dataset.name ? -1 : a.dataset.name > b.dataset.name ? 1 : byNumber(a, b)),
};
function update() {
  const kinds = new Set(Array.from(document.querySelectorAll("input[name=kind]:checked"), (box) => box.value));
  const text = document.getElementById("search").value.toLowerCase();
  const said = document.getElementById("said").value;
  let shown = 0;
  for (const card of cards) {
    card.hidden = !kinds.has(card.dataset.verdict) || (said && !card.dataset.said.split(" ").includes(said)) || !card.textContent.toLowerCase().includes(text);
    shown += !card.hidden;
  }
  count.textContent = `${shown} of ${cards.length} shown`;
}
function sort() {
  home.append(...cards.slice().sort(orders[document.getElementById("order").value]));
}
document.getElementById("controls").hidden = false;
document.getElementById("order").addEventListener("change", sort);
document.getElementById("said").addEventListener("change", update);
document.getElementById("search").addEventListener("input", update);
for (const box of document.querySelectorAll("input[name=kind]")) box.addEventListener("change", update);
update();

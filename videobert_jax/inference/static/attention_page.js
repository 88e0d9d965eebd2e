"use strict";
// The page's own choices: line, layer, head.

(() => {
  const ONE_LAYER = "Cross-attention, as the network computes it: of each word the clips it reads, of each clip the " +
    "words, 100 % in all. A frame of colour: more than an even share.";
  const ROLLOUT = "Attention rolled out over all layers of both towers and of the cross-modal encoder, the mean of " +
    "their heads, residuals counted half: of which clips a word's output consists, of which words a clip's, 100 % in " +
    "all (the other half of each comes from its own side). A frame of colour: more than an even share.";
  const at = (id) => document.getElementById(id);
  const choice = { kept: null };
  const data = JSON.parse(at("data").textContent);

  function fill(id, options, chosen) {
    at(id).append(...options.map(([value, textContent]) =>
      make("option", { value: String(value), textContent, selected: value === chosen })));
  }

  function draw() {
    const line = data.lines[Number(at("line").value)];
    const layer = at("layer").value === "rollout" ? null : Number(at("layer").value);
    at("head").disabled = layer === null;
    const head = layer === null || at("head").value === "mean" ? null : Number(at("head").value);
    const found = line.maps.find((of) => of.layer === layer && of.head === head);
    at("about").textContent = layer === null ? ROLLOUT : ONE_LAYER;
    at("attention").replaceChildren(attentionView({ ...line, ...found }, (clip) => data.frames[line.clips[clip]], choice));
  }

  const { maps } = data.lines[0];
  const layers = [...new Set(maps.map((of) => of.layer))].filter((layer) => layer !== null);
  const heads = [...new Set(maps.map((of) => of.head))].filter((head) => head !== null);
  fill("line", data.lines.map((line, place) => [place, `${line.number}. ${clock(line.start)}–${clock(line.end)}  ${line.text}`]),
    data.chosen.line);
  fill("layer", [["rollout", "rolled out over all layers"], ...layers.map((layer) => [layer, `${layer} of ${layers.length}`])],
    data.chosen.layer ?? "rollout");
  fill("head", [["mean", `mean of all ${heads.length}`], ...heads.map((head) => [head, String(head)])],
    data.chosen.head ?? "mean");
  at("line").addEventListener("change", () => { choice.kept = null; });
  for (const id of ["line", "layer", "head"]) at(id).addEventListener("change", draw);
  draw();
})();

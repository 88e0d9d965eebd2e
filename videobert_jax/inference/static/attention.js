"use strict";
// Attention between words and clips, for whatever page holds it. Text is put in as text, never as
// markup.

function make(name, options = {}, ...children) {
  const { share, role, label, ...properties } = options;
  const element = Object.assign(document.createElement(name), properties);
  if (role !== undefined) element.setAttribute("role", role);
  if (label !== undefined) element.setAttribute("aria-label", label);
  if (share !== undefined) element.style.setProperty("--share", share);
  element.append(...children);
  return element;
}

function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
}

function percent(weight) {
  return `${(100 * weight).toFixed(1)} %`;
}

/** A picture that goes where there is none. */
function still(source) {
  if (!source) return "";
  const image = make("img", { alt: "", src: source });
  image.addEventListener("error", () => image.remove());
  return image;
}

/** What colours are measured by: an even share is half the colour, so that attention to nothing in
    particular is pale. */
function fullShare(weights) {
  return Math.max(2 / weights[0].length, ...weights.flat());
}

/** A table of words and clips; `cells[word][clip]` are its fields. */
function attentionMap(caption, found, picture, weight, full, tooltip) {
  const head = found.times.map((second, clip) =>
    make("th", { scope: "col" }, still(picture(clip)), clock(second)));
  const cells = found.words.map((_, word) => found.times.map((_, clip) => make("td", {
    textContent: Math.round(100 * weight(word, clip)), title: tooltip(word, clip),
    share: (weight(word, clip) / full).toFixed(3) })));
  const rows = found.words.map((word, number) => make("tr", {},
    make("th", { scope: "row", textContent: word, className: special(word) }), ...cells[number]));
  const table = make("table", { className: "map" }, make("caption", { textContent: caption }),
    make("thead", {}, make("tr", {}, make("td"), ...head)), make("tbody", {}, ...rows));
  return { table: make("div", { className: "scroll" }, table), cells };
}

function special(word) {
  return /^\[.*\]$/.test(word) ? "special" : "";
}

/** Arrow keys move inside a group of buttons, of which one is a stop of the Tab key. */
function moveByArrows(buttons) {
  buttons.forEach((button, place) => {
    button.tabIndex = place ? -1 : 0;
    button.addEventListener("focus", () => {
      for (const other of buttons) other.tabIndex = other === button ? 0 : -1;
    });
    button.addEventListener("keydown", (event) => {
      const goal = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: buttons.length - 1 }[event.key];
      if (buttons[goal] === undefined) return;
      event.preventDefault();
      buttons[goal].focus();
    });
  });
}

/** Of both sides, "word" and "clip": names, the weights of each over the other side, and what their
    colours are measured by. */
function sidesOf(found) {
  const reads = { word: found.text_reads_video, clip: found.video_reads_text };
  return {
    reads, names: { word: found.words, clip: found.times.map(clock) },
    full: { word: fullShare(reads.word), clip: fullShare(reads.clip) },
  };
}

function attentionButtons(names, picture) {
  return {
    clip: names.clip.map((name, clip) => make("button", { type: "button", className: "clip" },
      still(picture(clip)), make("span", { className: "time", textContent: name }),
      make("span", { className: "percent" }))),
    word: names.word.map((name) => make("button", { type: "button", className: `spoken ${special(name)}` },
      make("b", { textContent: name }), make("span", { className: "percent" }))),
  };
}

function attentionMaps({ reads, names, full }, found, picture) {
  return [
    attentionMap("Words read clips: of each word, % over the clips", found, picture,
      (word, clip) => reads.word[word][clip], full.word,
      (word, clip) => `${names.word[word]} reads ${names.clip[clip]}: ${percent(reads.word[word][clip])}`),
    attentionMap("Clips read words: of each clip, % over the words", found, picture,
      (word, clip) => reads.clip[clip][word], full.clip,
      (word, clip) => `${names.clip[clip]} reads ${names.word[word]}: ${percent(reads.clip[clip][word])}`),
  ];
}

function otherSide(side) {
  return side === "word" ? "clip" : "word";
}

/** Lights a side's buttons by what `target`, {side, number}, of the other side reads; none without. */
function light(buttons, side, target, { reads, names, full }) {
  const weights = target && target.side !== side ? reads[target.side][target.number] : null;
  buttons.forEach((button, number) => {
    const weight = weights ? weights[number] : 0;
    button.classList.toggle("lit", weight > 1 / buttons.length);
    button.style.setProperty("--share", weights ? (weight / full[target.side]).toFixed(3) : 0);
    button.querySelector(".percent").textContent = weights ? `${Math.round(100 * weight)} %` : "";
    button.title = weights ? `${names[target.side][target.number]} reads ${names[side][number]}: ${percent(weight)}` : "";
  });
}

/** Marks the target's row in the map of words, or its column in that of clips. */
function mark(maps, target) {
  for (const [place, side] of ["word", "clip"].entries()) {
    maps[place].cells.forEach((row, word) => row.forEach((cell, clip) => cell.classList.toggle("marked",
      target !== null && target.side === side && target.number === (side === "word" ? word : clip))));
  }
}

function summary({ side, number }, { reads, names }) {
  const order = reads[side][number].map((weight, place) => ({ weight, place })).sort((a, b) => b.weight - a.weight);
  const most = order.slice(0, 3).map(({ weight, place }) => `${names[otherSide(side)][place]} (${percent(weight)})`);
  return `${names[side][number]} reads most: ${most.join(", ")}`;
}

/** Clips along the time axis against words: pointing at one lights what it reads on the other side.
    found: {words, times, text_reads_video [w][v], video_reads_text [v][w]}; picture(clip): an
    address, or nothing; choice.kept: what stays lit, {side, number}, or null. */
function attentionView(found, picture, choice = { kept: null }) {
  const sides = sidesOf(found);
  const buttons = attentionButtons(sides.names, picture);
  const maps = attentionMaps(sides, found, picture);
  const told = make("p", { className: "said", role: "status" });
  const view = make("div", { className: "attention" },
    make("ol", { className: "clips", label: "clips along the time axis" },
      ...buttons.clip.map((button) => make("li", {}, button))),
    make("div", { className: "text", role: "group", label: "words" }, ...buttons.word), told,
    make("p", { className: "hint muted", textContent: "Point at a word to light the clips that it reads, or at a " +
      "clip to light its words. A click or Enter keeps it, Escape lets it go; the arrow keys move." }),
    make("div", { className: "maps" }, ...maps.map((of) => of.table)));
  view.style.setProperty("--count", found.times.length);

  function isKept(side, number) {
    return choice.kept !== null && choice.kept.side === side && choice.kept.number === number;
  }

  function show(target) {
    view.classList.toggle("dimmed", target !== null && target.side === "word");
    for (const side of ["word", "clip"]) {
      light(buttons[side], side, target, sides);
      buttons[side].forEach((button, number) => button.setAttribute("aria-pressed", String(isKept(side, number))));
    }
    mark(maps, target);
    told.textContent = target === null ? "" : summary(target, sides);
  }

  for (const side of ["word", "clip"]) {
    moveByArrows(buttons[side]);
    buttons[side].forEach((button, number) => {
      for (const begin of ["pointerenter", "focus"]) button.addEventListener(begin, () => show({ side, number }));
      for (const end of ["pointerleave", "blur"]) button.addEventListener(end, () => show(choice.kept));
      button.addEventListener("click", () => {
        choice.kept = isKept(side, number) ? null : { side, number };
        show(choice.kept);
      });
    });
  }
  view.addEventListener("keydown", (event) => {
    if (event.key === "Escape") show(choice.kept = null);
  });
  show(choice.kept);
  return view;
}

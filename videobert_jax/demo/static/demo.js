"use strict";
// Whatever comes from the server is put in as text, never as markup. `make`, `clock`, `still` and
// `attentionView` are attention.js's, which is read before.

const at = (id) => document.getElementById(id);
const state = { about: null, film: null, turn: 0 };

function say(id, text, wrong = false) {
  at(id).textContent = text;
  at(id).classList.toggle("wrong", wrong);
}

async function read(answer) {
  let value;
  try {
    value = await answer.json();
  } catch {
    throw new Error("the page's program gave no answer; see whether it still runs.");
  }
  if (!answer.ok) throw new Error(value.error);
  return value;
}

async function ask(path, question) {
  const headers = { "Content-Type": "application/json" };
  return read(await fetch(path, { method: "POST", headers, body: JSON.stringify(question) }));
}

/** Runs `work` when the form is sent; its button waits meanwhile, and what fails is said. `work` gives
 * what was answered, whose warnings are said, and words to say behind them. */
function onSend(name, work) {
  at(`${name}-form`).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = at(`${name}-form`).querySelector("button");
    button.disabled = true;
    say(`${name}-said`, "The model is reading …");
    try {
      const [{ warnings }, words = ""] = await work();
      say(`${name}-said`, [...warnings, words].join(" "), warnings.length > 0);
    } catch (error) {
      say(`${name}-said`, error.message, true);
    } finally {
      button.disabled = false;
    }
  });
}

function addFilm(film, first = false) {
  const label = `${film.name.replace("_", " ")}, ${Math.round(film.seconds)} s`;
  const option = make("option", { value: film.name, textContent: label });
  if (first) at("films").prepend(option);
  else at("films").append(option);
  state.films.set(film.name, film);
}

/** Makes a film the one that questions are about, with its picture at a second. */
function pick(name, second) {
  const video = at("video");
  if (state.film !== name) {
    state.film = name;
    at("films").value = name;
    at("steps-text").value = state.films.get(name).steps.join("\n");
    for (const id of ["timeline", "captions-found", "attention-found", "blanks-found"]) {
      at(id).replaceChildren();
    }
    video.removeAttribute("src");
    video.load();
  }
  video.dataset.start = second;
  video.poster = `stills/${name}/${second.toFixed(1)}`;
  at("attention-start").value = second;
  say("film-said", "");
}

/** Plays a film from a second on; it is drawn first where it has no file yet. */
async function show(name, second) {
  const turn = ++state.turn;
  const video = at("video");
  pick(name, second);
  say("film-said", `${name} from ${clock(second)}: the film is being drawn, half a minute once …`);
  try {
    const { address } = await ask("film", { film: name });
    if (turn !== state.turn) return;
    if (video.getAttribute("src") === null) video.src = `${address}#t=${second}`;
    else video.currentTime = second;
    say("film-said", `${name} from ${clock(second)}`);
    video.play().catch(() => {}); // browsers may refuse to start by themselves
  } catch (error) {
    if (turn === state.turn) say("film-said", error.message, true);
  }
}

function showHits(hits) {
  at("hits").replaceChildren(...hits.map((hit) => {
    const button = make("button", { type: "button" },
      still(`stills/${hit.film}/${((hit.start + hit.end) / 2).toFixed(1)}`),
      make("span", { textContent: `${clock(hit.start)} – ${clock(hit.end)}` }),
      make("span", { textContent: `${hit.film}, cosine ${hit.score.toFixed(2)}` }));
    button.addEventListener("click", () => choose(button, hit));
    return make("li", {}, button);
  }));
  if (hits.length) choose(at("hits").querySelector("button"), hits[0]);
}

function choose(button, hit) {
  for (const other of at("hits").querySelectorAll("button")) other.classList.toggle("chosen", other === button);
  show(hit.film, hit.start);
}

function showMasks({ masks, without }) {
  at("blanks-found").replaceChildren(...masks.map((mask, number) => make("div", { className: "mask" },
    make("h3", { textContent: masks.length > 1 ? `[MASK] ${number + 1}` : "[MASK]" }),
    ...mask.map(({ word, probability }) => {
      const fill = make("div", { className: "fill" });
      fill.style.width = `${100 * probability}%`;
      return make("div", { className: "word" }, make("b", { textContent: word }),
        make("div", { className: "track" }, fill),
        make("span", { className: "share", textContent: `${(100 * probability).toFixed(1)} %` }));
    }),
    make("p", { className: "muted", textContent:
      `Without the film: ${without[number].map((told) => told.word).join(", ")}` }))));
}

function showSteps({ seconds, steps }) {
  const all = steps.flatMap((step) => step.cosines);
  const least = Math.min(...all), most = Math.max(...all);
  const lanes = steps.map((step) => {
    const cells = step.cosines.map((cosine, second) => {
      const cell = make("button", {
        type: "button", className: second === step.second ? "found" : "",
        title: `${clock(second)}, cosine ${cosine.toFixed(2)}`,
        share: (((cosine - least) / (most - least || 1)) ** 2).toFixed(3),
      });
      cell.addEventListener("click", () => show(state.film, second));
      return cell;
    });
    return make("div", { className: "lane" }, make("span", { textContent: step.text }),
      make("div", { className: "cells" }, ...cells),
      make("span", { className: "score", textContent: `${clock(step.second)} (${step.score.toFixed(2)})` }));
  });
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => make("span", { textContent: clock(share * seconds) }));
  at("timeline").replaceChildren(...lanes, make("div", { className: "lane" }, make("span"),
    make("div", { className: "axis" }, ...marks), make("span")));
}

function showCaptions(captions) {
  at("captions-found").replaceChildren(...captions.map(({ start, end, text }) => {
    const time = make("th", { className: "time", textContent: `${clock(start)} – ${clock(end)}` });
    time.addEventListener("click", () => show(state.film, start));
    return make("tr", {}, time, make("td", { textContent: text }));
  }));
}

function showAttention(found) {
  at("attention-found").replaceChildren(attentionView(found, (clip) =>
    `stills/${state.film}/${(found.times[clip] + found.clip_seconds / 2).toFixed(1)}`));
}

async function upload(file) {
  const { limits } = state.about;
  if (file.size > limits.bytes) {
    throw new Error(`The file has ${(file.size / 2 ** 20).toFixed(1)} MB; expected ${limits.megabytes} MB at most.`);
  }
  const headers = { "Content-Type": file.type || "video/mp4" };
  const film = await read(await fetch("uploads", { method: "POST", headers, body: file }));
  state.about = await read(await fetch("about"));
  at("films").replaceChildren();
  state.films.clear();
  for (const other of state.about.films) if (other.name !== film.name) addFilm(other);
  addFilm(film, true);
  await show(film.name, 0);
  return `${film.name} is read; the search finds its moments, too.`;
}

function describe(about) {
  const trained = about.datasets.length ? `, trained on ${about.datasets.join(", ")}` : "";
  const count = about.films.length;
  at("about").textContent = `Model “${about.model}”, step ${about.step}${trained}. ` +
    `${about.windows} moments of ${count} film${count === 1 ? "" : "s"} can be searched.`;
  if (about.kitchen_only) {
    at("warning").hidden = false;
    at("warning").textContent = "It knows the embedded kitchen alone, drawn in 2D by one renderer: " +
      "what it says of any other film means nothing.";
  }
  at("upload-limits").textContent =
    `up to ${about.limits.megabytes} MB and ${about.limits.seconds} seconds; it stays on this computer's server`;
  if (about.no_uploads) {
    at("upload-room").hidden = true;
    say("upload-said", about.no_uploads);
  }
  for (const [name, why] of [["captions", about.no_captions], ["attention", about.no_attention]]) {
    at(`${name}-form`).hidden = Boolean(why);
    if (why) say(`${name}-said`, why);
  }
  for (const [id, first, count] of [["layer", "last", about.layers], ["head", "mean of all", about.heads]]) {
    at(`attention-${id}`).append(make("option", { value: "", textContent: first }),
      ...Array.from({ length: count }, (_, n) => make("option", { value: n + 1, textContent: n + 1 })));
  }
}

function chosen(id) {
  return at(id).value === "" ? null : Number(at(id).value);
}

/** Which attention is asked for; a rollout is over all layers and heads. */
function depth() {
  if (at("attention-layer").value === "rollout") return { rollout: true };
  return { layer: chosen("attention-layer"), head: chosen("attention-head") };
}

async function start() {
  state.about = await read(await fetch("about"));
  state.films = new Map();
  state.about.films.forEach((film) => addFilm(film));
  describe(state.about);
  if (state.films.size) pick(state.about.films[0].name, 0);
  onSend("search", async () => {
    const found = await ask("search", { text: at("search-text").value });
    showHits(found.hits);
    return [found, found.hits.length ? "" : "There is no film to search in; upload one."];
  });
  onSend("blanks", async () => {
    const found = await ask("blanks", { film: state.film, text: at("blanks-text").value });
    showMasks(found);
    return [found];
  });
  onSend("captions", async () => {
    const question = { film: state.film, seconds: Number(at("captions-seconds").value) };
    const found = await ask("captions", question);
    showCaptions(found.captions);
    return [found];
  });
  onSend("steps", async () => {
    const steps = at("steps-text").value.split("\n");
    const found = await ask("steps", { film: state.film, steps, ordered: at("steps-ordered").checked });
    showSteps(found);
    return [found, "Blue: the second that was found. Orange: how similar the film is to the step."];
  });
  onSend("attention", async () => {
    const found = await ask("attention", {
      film: state.film, text: at("attention-text").value, start: Number(at("attention-start").value),
      ...depth(),
    });
    showAttention(found);
    return [found];
  });
  at("attention-layer").append(make("option", { value: "rollout", textContent: "all, rolled out" }));
  at("attention-layer").addEventListener("change", () => {
    at("attention-head").disabled = at("attention-layer").value === "rollout";
  });
  at("films").addEventListener("change", () => pick(at("films").value, 0));
  at("play").addEventListener("click", () => show(state.film, Number(at("attention-start").value)));
  at("video").addEventListener("error", () => {
    if (at("video").getAttribute("src") !== null) {
      say("film-said", "This browser cannot play the film (H.264 in an mp4); take another browser.", true);
    }
  });
  at("upload").addEventListener("change", async () => {
    const [file] = at("upload").files;
    if (!file) return;
    say("upload-said", "Sending, and reading what it shows …");
    try {
      say("upload-said", await upload(file));
    } catch (error) {
      say("upload-said", error.message, true);
    }
    at("upload").value = "";
  });
}

start().catch((error) => {
  at("about").textContent = error.message;
});

// The state of the page is its address: a link reproduces a search.
"use strict";

const $ = (id) => document.getElementById(id);
const FILTERS = ["camera", "folder", "since", "until", "top"];
const state = { q: "", answers: {}, like: [], unlike: [] };
let latest = 0; // number of the last request: answers to earlier ones are dropped

function readAddress() {
  const given = new URLSearchParams(location.search);
  state.q = given.get("q") || "";
  state.like = given.getAll("like");
  state.unlike = given.getAll("unlike");
  try {
    state.answers = JSON.parse(given.get("answers") || "{}") || {};
  } catch {
    state.answers = {};
  }
  $("sentence").value = state.q;
  for (const name of FILTERS) {
    const value = given.get(name) ?? (name === "top" ? "60" : "");
    const options = $(name).options;
    if (options && ![...options].some((one) => one.value === value)) options.add(new Option(value)); // gone meanwhile
    $(name).value = value;
  }
}

function address() {
  const parts = new URLSearchParams();
  if (state.q) parts.set("q", state.q);
  for (const name of ["like", "unlike"]) for (const id of state[name]) parts.append(name, id);
  if (Object.keys(state.answers).length) parts.set("answers", JSON.stringify(state.answers));
  for (const name of FILTERS) {
    const value = $(name).value;
    if (value && !(name === "top" && value === "60")) parts.set(name, value);
  }
  return parts.toString();
}

function say(text, isError = false) {
  $("status").textContent = text;
  $("status").classList.toggle("error", isError);
}

async function search({ remember = true } = {}) {
  const parts = address();
  if (remember) history.pushState(null, "", parts ? `?${parts}` : location.pathname);
  showFilters();
  if (!state.q && !state.like.length) {
    latest++;
    $("results").replaceChildren();
    $("chips").replaceChildren();
    $("question").hidden = true;
    return;
  }
  const number = ++latest;
  $("results").classList.add("waiting");
  const start = performance.now();
  try {
    const reply = await fetch(`/api/search?${parts}`);
    const found = reply.headers.get("content-type")?.includes("json") ? await reply.json() : { error: await reply.text() };
    if (number !== latest) return;
    if (!reply.ok) {
      const problem = found.error || found.detail?.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
      throw new Error(problem || reply.statusText);
    }
    show(found, performance.now() - start);
  } catch (error) {
    if (number !== latest) return;
    $("results").replaceChildren();
    const lost = error instanceof TypeError;
    say(lost ? "The server does not answer. Is it still running?" : error.message, true);
  } finally {
    if (number === latest) $("results").classList.remove("waiting");
  }
}

function show(found, milliseconds) {
  const count = found.hits.length;
  const notes = found.notes.map((note) => ` ${note[0].toUpperCase()}${note.slice(1)}.`).join("");
  say(count ? `The best ${count}, in ${Math.round(milliseconds)} ms.${notes}` : `No photographs.${notes}`);
  showChips(found.slots);
  showQuestion(found.question);
  $("results").replaceChildren(...found.hits.map(card));
}

function card(hit) {
  const item = $("card").content.firstElementChild.cloneNode(true);
  const part = (name) => item.querySelector(name);
  const image = part("img");
  item.firstElementChild.dataset.id = hit.id;
  item.firstElementChild.setAttribute("aria-label", `${hit.rank}: ${hit.caption || hit.path}`);
  if (hit.missing) {
    part(".frame").classList.add("missing");
    image.remove();
  } else {
    image.src = `/api/photographs/${hit.id}`;
    image.alt = hit.caption || hit.path;
  }
  part(".rank").textContent = hit.rank;
  part(".caption").textContent = hit.caption || "No caption.";
  part(".file").textContent = [hit.path, hit.camera && `camera ${hit.camera}`, hit.time?.replace("T", " "),
    `score ${hit.score}`].filter(Boolean).join(" · ");
  const reasons = part(".reasons");
  for (const [slot, how] of Object.entries(hit.reasons)) {
    const line = document.createElement("li");
    line.className = how === "not seen" ? "unseen" : how;
    const mark = { agrees: "✓", contradicts: "✗", "not seen": "?" }[how];
    line.textContent = `${mark} ${name(slot)}${how === "contradicts" ? `: ${hit.slots[slot]}` : ""}`;
    reasons.append(line);
  }
  for (const [kind, other, button] of [["like", "unlike", ".more"], ["unlike", "like", ".less"]]) {
    const pressed = state[kind].includes(hit.id);
    part(button).setAttribute("aria-pressed", pressed);
    if (pressed) part(".marks").classList.add("set");
    part(button).addEventListener("click", () => mark(hit.id, kind, other));
  }
  return item;
}

function mark(id, kind, other) {
  state[other] = state[other].filter((one) => one !== id);
  state[kind] = state[kind].includes(id) ? state[kind].filter((one) => one !== id) : [...state[kind], id];
  search();
}

const name = (slot) => slot.replaceAll("_", " ");

function showChips(slots) {
  const chips = Object.entries(slots).map(([slot, value]) => chip(slot, value));
  for (const [slot, value] of Object.entries(state.answers)) if (value === null) chips.push(chip(slot, null));
  $("chips").replaceChildren(...chips);
}

// A click on a chip opens it for another value; an empty value drops it, and a click on a dropped one restores it.
function chip(slot, value) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = value === null ? "chip dropped" : "chip";
  button.dataset.slot = slot;
  button.title = value === null ? "Read from the sentence again" : "Change or drop";
  const label = document.createElement("small");
  label.textContent = name(slot);
  button.append(label, value ?? "dropped");
  button.addEventListener("click", () => {
    if (value === null) {
      delete state.answers[slot];
      search();
    } else {
      edit(button, slot, value);
    }
  });
  return button;
}

function edit(button, slot, value) {
  const box = document.createElement("span");
  const input = document.createElement("input");
  const drop = document.createElement("button");
  box.className = "chip";
  input.value = value;
  input.setAttribute("aria-label", name(slot));
  drop.type = "button";
  drop.textContent = "drop";
  const choose = (chosen) => {
    state.answers[slot] = chosen;
    search();
  };
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") choose(input.value.trim().toLowerCase() || null);
    if (event.key === "Escape") box.replaceWith(button);
  });
  drop.addEventListener("click", () => choose(null));
  box.append(`${name(slot)} `, input, " ", drop);
  button.replaceWith(box);
  input.select();
}

function showQuestion(question) {
  const box = $("question");
  box.hidden = !question;
  if (!question) return;
  const options = Object.entries(question.options).map(([value, count]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "chip";
    button.textContent = `${value} (${count})`;
    button.addEventListener("click", () => {
      state.answers[question.slot] = value;
      search();
    });
    return button;
  });
  const skip = document.createElement("button");
  skip.type = "button";
  skip.className = "chip";
  skip.textContent = "not known";
  skip.addEventListener("click", () => {
    state.answers[question.slot] = null;
    search();
  });
  box.replaceChildren(question.text, ...options, skip);
}

function showFilters() {
  const active = FILTERS.filter((one) => one !== "top" && $(one).value).map((one) => `${one}: ${$(one).value}`);
  $("active").textContent = active.length ? `(${active.join(", ")})` : "";
}

// Another sentence starts anew; filters stay.
$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const sentence = $("sentence").value.trim();
  if (sentence !== state.q) Object.assign(state, { answers: {}, like: [], unlike: [] });
  state.q = sentence;
  search();
});
for (const one of FILTERS) $(one).addEventListener("change", () => search());
addEventListener("popstate", () => {
  readAddress();
  search({ remember: false });
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    $("sentence").select();
    return;
  }
  const cards = [...document.querySelectorAll("article")];
  if (!cards.length || (typing && !(event.target.id === "sentence" && event.key === "ArrowDown"))) return;
  const place = cards.indexOf(event.target.closest("article"));
  const row = cards[0].parentElement.offsetTop;
  const columns = cards.filter((one) => one.parentElement.offsetTop === row).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: place < 0 ? 1 : columns, ArrowUp: -columns };
  if (event.key in steps) {
    event.preventDefault();
    const next = Math.min(cards.length - 1, Math.max(0, place + steps[event.key]));
    cards[next].focus();
  } else if (place >= 0 && (event.key === "m" || event.key === "n")) {
    const [kind, other] = event.key === "m" ? ["like", "unlike"] : ["unlike", "like"];
    mark(cards[place].dataset.id, kind, other);
  }
});

readAddress();
showFilters();
if (state.q || state.like.length) search({ remember: false });

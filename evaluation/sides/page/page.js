"use strict";
// The rater's page. What models wrote is hostile: it reaches the page as text nodes alone.

const token = decodeURIComponent(location.hash.slice(1));
const tab = Math.random().toString(36).slice(2, 12); // told with each click, so that two windows show
const SHOWN = 40000; // characters of a text that are laid out at once
const GRADES = [[0, "major issue"], [1, "minor issue"], [2, "no issue"]];
const BETTER = ["left, by far", "left", "left, slightly", "the same", "right, slightly", "right", "right, by far"];
const main = document.getElementById("main");
let current = null, waiting = [], isSending = false;

function element(parent, name, attributes = {}, text = null) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  parent.appendChild(node);
  return node;
}

// Characters that would turn text around or hide it are shown by their number.
function visible(text) {
  const steering = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
  return text.replace(steering, (letter) => `‹U+${letter.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}›`);
}

function say(text, isBad = false) {
  const state = document.getElementById("state");
  state.textContent = text;
  state.className = isBad ? "bad" : "";
}

async function ask(path, sent) {
  const options = { headers: { Authorization: `Bearer ${token}` }, cache: "no-store" };
  if (sent) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(sent);
  }
  const answer = await fetch(path, options);
  return { status: answer.status, told: await answer.json() };
}

function pause(ms) {
  return new Promise((wake) => setTimeout(wake, ms));
}

// Clicks go out one after the other, each until it is known to be saved.
async function send() {
  if (isSending) return;
  isSending = true;
  for (let tries = 0; waiting.length; ) {
    let answer = null;
    try {
      answer = await ask("/click", waiting[0]);
    } catch {
      answer = null;
    }
    if (answer === null || answer.status >= 500) {
      tries += 1;
      say(answer ? answer.told.error : "not saved yet: the server does not answer; trying again", true);
      await pause(Math.min(3000, 150 * tries));
      continue;
    }
    tries = 0;
    const sent = waiting.shift();
    if (answer.status !== 200) {
      waiting = [];
      say(answer.told.error, true);
      await show();
    } else if (sent.field === "done") {
      await show();
    } else if (!waiting.length) say("saved");
  }
  isSending = false;
}

function click(field, value) {
  if (current === null) return;
  if (field !== "done") current.chosen[field] = value;
  waiting.push({ look: current.look, field, value, tab });
  ready();
  send();
}

function fields() {
  return ["preference", ...current.criteria.flatMap((name) => [`left/${name}`, `right/${name}`])];
}

function ready() {
  const next = document.getElementById("next");
  if (next) next.disabled = fields().some((name) => !(name in current.chosen));
}

// A long text is laid out piece by piece: a browser takes minutes over a word of a million letters.
function addText(parent, text, label) {
  const box = element(parent, "pre", { class: "text", dir: "auto", tabindex: "0", "aria-label": label });
  let shown = 0;
  const grow = () => {
    const end = Math.min(text.length, shown + SHOWN);
    element(box, "div", {}, visible(text.slice(shown, end)));
    shown = end;
  };
  grow();
  if (shown >= text.length) return;
  const more = element(parent, "button", { type: "button", class: "more" });
  const name = () => {
    more.textContent = `show more: ${(text.length - shown).toLocaleString("en")} characters are left`;
    more.hidden = shown >= text.length;
  };
  more.addEventListener("click", () => {
    grow();
    name();
  });
  name();
}

function addChoices(parent, field, title, choices) {
  const set = element(parent, "fieldset");
  element(set, "legend", {}, title);
  for (const [value, name] of choices) {
    const label = element(set, "label");
    const box = element(label, "input", { type: "radio", name: field, value: String(value) });
    if (current.chosen[field] === value) box.checked = true;
    box.addEventListener("change", () => click(field, value));
    label.append(` ${name}`);
  }
}

function addSide(parent, side) {
  const column = element(parent, "section");
  element(column, "h2", {}, `The ${side} answer`);
  addText(column, current[side], `The ${side} answer`);
  for (const name of current.criteria) addChoices(column, `${side}/${name}`, name, GRADES);
}

function draw() {
  main.replaceChildren();
  document.getElementById("progress").textContent = `${(current.done + 1).toLocaleString("en")} of ${current.total.toLocaleString("en")}`;
  const prompt = element(main, "section", { class: "prompt" });
  for (const turn of current.prompt) {
    const box = element(prompt, "div", { class: "turn" });
    element(box, "h2", {}, turn.role === "user" ? "What was asked" : turn.role);
    addText(box, turn.content, turn.role);
  }
  const sides = element(main, "div", { class: "sides" });
  for (const side of ["left", "right"]) addSide(sides, side);
  const bar = element(element(main, "div", { class: "better" }), "div");
  addChoices(bar, "preference", "Which is better? Keys 1 to 7, then Enter", BETTER.map((name, at) => [at + 1, `${at + 1} ${name}`]));
  const next = element(bar, "button", { type: "button", id: "next" }, "next");
  next.addEventListener("click", finish);
  ready();
  window.scrollTo(0, 0);
}

function finish() {
  const next = document.getElementById("next");
  if (!next || next.disabled) return;
  next.disabled = true;
  click("done", null);
  next.disabled = true;
}

async function show() {
  for (let tries = 1; ; tries++) {
    let answer = null;
    try {
      answer = await ask("/now");
    } catch {
      answer = null;
    }
    if (answer === null || answer.status >= 500) {
      say(answer ? answer.told.error : "the server does not answer; trying again", true);
      await pause(Math.min(3000, 150 * tries));
      continue;
    }
    if (answer.status !== 200) {
      current = null;
      main.replaceChildren();
      say(answer.told.error, true);
      return;
    }
    if (answer.told.look === undefined) {
      current = null;
      main.replaceChildren();
      document.getElementById("progress").textContent = `${answer.told.total.toLocaleString("en")} of ${answer.told.total.toLocaleString("en")}`;
      element(main, "p", {}, "That was the last one. Thank you.");
      return;
    }
    current = answer.told;
    if (!document.getElementById("state").className) say("");
    draw();
    return;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || current === null) return;
  if (event.key === "Enter" && event.target.tagName !== "BUTTON") {
    event.preventDefault();
    finish();
  } else if (/^[1-7]$/.test(event.key)) {
    const box = document.querySelector(`input[name="preference"][value="${event.key}"]`);
    if (!box.checked) box.click();
    box.focus({ preventScroll: true });
  }
});
window.addEventListener("beforeunload", (event) => {
  if (waiting.length) event.preventDefault();
});
window.addEventListener("hashchange", () => location.reload());

if (token) show();
else say("Take the link that you were given: this one has no token in it.", true);

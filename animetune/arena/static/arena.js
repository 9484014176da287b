// The voting page: fetches a battle and, while it is looked at, the next; sends the vote; says how things stand.

import { Pictures } from "./pictures.js";
import { Refused, loadPictures, post, sleep } from "./server.js";

const TOO_SOON = 250; // milliseconds after a change of pictures in which nothing is chosen: a double tap means the last
const REVEAL = 1800; // milliseconds that names stay
const PATIENCE = 3; // times to be told to wait before it is said

const find = (id) => document.getElementById(id);
const page = { state: "loading", battle: null, upcoming: null, order: null, shownAt: 0, count: 0, thanked: false };
const pictures = new Pictures(find("pictures"), choose);

start();

async function start() {
  enter("loading");
  const invite = new URLSearchParams(location.search).get("invite");
  if (invite !== null) history.replaceState(null, "", location.pathname);
  try {
    const arena = await patiently(() => post("/api/arena", { invite }));
    Object.assign(page, { reveal: arena.reveal });
    document.title = arena.title;
    find("title").textContent = arena.title;
    find("intro").textContent = arena.intro;
    tell(arena.progress);
    page.thanked = arena.progress.reached;
    await next();
  } catch (error) {
    fail(error, start);
  }
}

async function next() {
  const waiting = page.upcoming ?? fetchBattle();
  page.upcoming = null;
  const slow = setTimeout(() => enter("loading"), 120); // sooner it would flicker
  try {
    const fetched = await waiting;
    clearTimeout(slow);
    if (fetched === null) return nothingLeft();
    show(fetched);
    page.upcoming = fetchBattle();
    page.upcoming.catch(() => {}); // said when it is its turn
  } catch (error) {
    clearTimeout(slow);
    fail(error, next);
  }
}

/** A battle with its pictures decoded; null where there is none. */
async function fetchBattle() {
  const { battle } = await patiently(() => post("/api/battle", { have: page.battle ? [page.battle.token] : [] }));
  return battle && { battle, images: await loadPictures(battle) };
}

function show({ battle, images }) {
  page.battle = battle;
  page.order = null;
  document.body.dataset.mode = battle.mode;
  document.body.toggleAttribute("data-draw", battle.draw);
  find("prompt-text").textContent = battle.prompt || "(no prompt)";
  expand(false);
  pictures.frames(images.length, battle);
  pictures.show(images);
  buttons();
  enter("ready");
  say(`${battle.slots.length} pictures. Prompt: ${battle.prompt}`);
  page.count += 1;
  page.shownAt = performance.now();
}

/** The picture at a place is the best, or, when all are ranked, the next best. */
function choose(place) {
  if (page.state === "revealed") return next();
  const count = page.battle?.slots.length ?? 0;
  if (page.state !== "ready" || place >= count || performance.now() - page.shownAt < TOO_SOON) return;
  if (page.order === null) return vote([...Array(count).keys()].map((slot) => (slot === place ? 0 : 1)));
  page.order = page.order.includes(place) ? page.order.filter((slot) => slot !== place) : [...page.order, place];
  if (page.order.length === count - 1) {
    page.order.push([...Array(count).keys()].find((slot) => !page.order.includes(slot)));
    return vote([...Array(count).keys()].map((slot) => page.order.indexOf(slot)));
  }
  const ranks = [...Array(count).keys()].map((slot) => page.order.indexOf(slot));
  pictures.label(ranks.map((rank, slot) => (rank < 0 ? slot + 1 : ["1st", "2nd", "3rd"][rank])), ranks);
  say(`${page.order.length} ranked`);
}

function verdict(kind) {
  if (page.state !== "ready" || performance.now() - page.shownAt < TOO_SOON) return;
  if (kind === "bad") return vote(null);
  if (kind === "draw" && page.battle.draw) return vote(page.battle.slots.map(() => 0));
  if (kind === "rank" && page.battle.mode === "four") {
    page.order = page.order === null ? [] : null;
    pictures.label([1, 2, 3, 4]);
    buttons();
  }
}

async function vote(ranks) {
  const ms = Math.round(performance.now() - page.shownAt);
  pictures.mark(ranks);
  enter("sending");
  await send({ token: page.battle.token, ranks, ms });
}

async function send(body) {
  let said;
  try {
    said = await patiently(() => post("/api/vote", body));
  } catch (error) {
    const isOver = error instanceof Refused && [403, 404, 409, 410].includes(error.status); // 409: it was kept before
    if (!isOver) return fail(error, () => send(body), "Your vote has not arrived.");
    say(error.message);
    return next();
  }
  tell(said.progress);
  if (said.progress.reached && !page.thanked) return thank(said.progress);
  if (!said.models) {
    say("Vote kept.");
    return next();
  }
  pictures.name(said.models);
  say(`Vote kept. The models were, in order: ${said.models.join(", ")}`);
  enter("revealed");
  const shown = page.count;
  await sleep(REVEAL);
  if (page.state === "revealed" && page.count === shown) next();
}

/** What `ask` answers; told to wait, it waits and asks again. */
async function patiently(ask) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Refused && error.status === 429) || tries >= PATIENCE) throw error;
      await sleep(1000 * Math.min(10, error.wait));
    }
  }
}

function tell(progress) {
  const { yours, total, goal } = progress;
  const number = (value) => value.toLocaleString();
  const votes = (value) => `${number(value)} vote${value === 1 ? "" : "s"}`;
  const all = document.createElement("span");
  all.className = "all";
  all.textContent = `, ${number(total)} in all`;
  find("tally").replaceChildren(...(yours ? [`${number(yours)} by you`, all] : [votes(total)]));
  find("goal").hidden = false;
  find("goal").max = goal;
  find("goal").value = Math.min(total, goal);
  find("goal").title = `${number(total)} of ${votes(goal)}`;
}

function enter(state) {
  page.state = state;
  document.body.dataset.state = state;
  find("message").hidden = !["error", "empty", "done", "locked"].includes(state);
  find("next").hidden = state !== "revealed";
  find("stage").setAttribute("aria-busy", state === "loading" || state === "sending");
  for (const button of find("verdicts").children) button.disabled = state !== "ready";
}

function message(state, title, text, action, onAction) {
  find("message-title").textContent = title;
  find("message-text").textContent = text;
  find("message-action").textContent = action ?? "";
  find("message-action").hidden = !action;
  find("message-action").onclick = onAction ?? null;
  enter(state);
  say(`${title} ${text}`);
  if (action) find("message-action").focus();
}

function fail(error, again, title = "That did not work.") {
  if (error instanceof Refused && error.status === 401) {
    return message("locked", "By invitation", "Open the link that you were given; it lets you vote.");
  }
  message("error", title, error.message, "Try again", () => {
    enter("sending");
    again();
  });
}

function nothingLeft() {
  message("empty", "Nothing left to vote on", "There is no pair of pictures to compare. Thank you for being here!", "Look again", () => {
    enter("loading");
    next();
  });
}

function thank({ total, yours }) {
  page.thanked = true;
  const text = `The goal of this arena is reached: ${total.toLocaleString()} votes, ${yours.toLocaleString()} of them yours. More votes make the result sharper still.`;
  message("done", "Thank you!", text, "Go on voting", next);
}

function buttons() {
  const battle = page.battle;
  const side = (place) => ({ text: String(place + 1), hint: battle.mode === "four" ? "best" : "better", act: () => choose(place) });
  const sides = battle.slots.map((_, place) => side(place));
  const between = [{ text: battle.mode === "four" ? "Bad" : "Both bad", hint: "b", isKey: true, act: () => verdict("bad"), label: "All are bad" }];
  if (battle.draw) between.unshift({ text: "Draw", hint: "Space", isKey: true, act: () => verdict("draw") });
  if (battle.mode === "four") between.push({ text: "Rank", hint: "r", isKey: true, act: () => verdict("rank"), pressed: page.order !== null });
  const all = battle.mode === "four" ? [...sides, ...between] : [sides[0], ...between, sides[1]];
  find("verdicts").replaceChildren(...all.map(button));
}

function button({ text, hint, isKey, act, label, pressed }) {
  const made = document.createElement("button");
  made.type = "button";
  made.onclick = act;
  made.append(text);
  const more = document.createElement(isKey ? "kbd" : "span");
  more.className = "side";
  more.textContent = hint;
  made.append(more);
  made.setAttribute("aria-label", label ?? (isKey ? text : `Picture ${text} is ${hint}`));
  if (pressed !== undefined) made.setAttribute("aria-pressed", pressed);
  return made;
}

function say(text) {
  find("status").textContent = text;
}

function expand(isOpen) {
  find("prompt").setAttribute("aria-expanded", isOpen);
}

const KEYS = {
  ArrowLeft: () => page.battle?.slots.length === 2 && choose(0),
  ArrowRight: () => page.battle?.slots.length === 2 && choose(1),
  0: () => verdict("draw"),
  " ": () => verdict("draw"),
  b: () => verdict("bad"),
  r: () => verdict("rank"),
  z: () => pictures.toggleZoom(),
  f: () => pictures.turn(1),
  p: () => expand(find("prompt").getAttribute("aria-expanded") !== "true"),
  "?": () => help(true),
  h: () => help(true),
  Escape: () => (expand(false), pictures.reset()),
};

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || find("help").open) return;
  const presses = [" ", "Enter"].includes(event.key);
  if (presses && event.target.closest?.("button, dialog")) return; // presses that button
  const isAnswer = presses || event.key.startsWith("Arrow") || /^[0-9br]$/i.test(event.key);
  if (page.state === "revealed" && isAnswer) {
    event.preventDefault();
    return void next();
  }
  const act = /^[1-4]$/.test(event.key) ? () => choose(Number(event.key) - 1) : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act && page.battle) {
    event.preventDefault();
    act();
  }
});

function help(isOpen) {
  const mode = { fixed: "Two pictures of one prompt. Choose the better one, or call it a draw.", duel: "Two pictures of one prompt. Choose the better one.", four: "Four pictures of one prompt. Choose the best, or rank all of them." };
  find("how").textContent = `${mode[document.body.dataset.mode]} Who drew which is told ${page.reveal ? "after your vote" : "to nobody who votes"}.`;
  if (isOpen && !find("help").open) find("help").showModal();
}

find("help-open").onclick = () => help(true);
find("zoom").onclick = () => pictures.toggleZoom();
find("prompt").onclick = KEYS.p;
find("next").onclick = () => page.state === "revealed" && next();
for (const id of ["help-open", "zoom", "prompt", "verdicts", "next"]) {
  find(id).addEventListener("mousedown", (event) => event.preventDefault()); // focus stays, so that Space means a draw
}
addEventListener("online", () => page.state === "error" && find("message-action").click());

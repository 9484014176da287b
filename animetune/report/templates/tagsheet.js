"use strict";
(() => {
  const [KIND, SHOWN, TRIGGER, PICTURES, SEEN, SERIES] = [0, 1, 2, 3, 4, 5];
  const { kinds, rows } = JSON.parse(document.getElementById("data").textContent);
  const search = document.getElementById("search");
  const sort = document.getElementById("sort");
  const list = document.getElementById("list");
  const found = document.getElementById("found");
  const chips = [...document.querySelectorAll("#kinds button")];
  const toast = document.getElementById("toast");
  const narrow = matchMedia("(max-width: 44rem)");
  const plain = (text) => text.toLowerCase().replace(/[\\_]/g, (c) => (c === "_" ? " " : ""));
  const needles = rows.map((row) => plain(row[SHOWN] + "\n" + row[SERIES]));
  const orders = {
    pictures: (a, b) => rows[b][PICTURES] - rows[a][PICTURES] || a - b,
    seen: (a, b) => (rows[b][SEEN] ?? -1) - (rows[a][SEEN] ?? -1) || a - b,
    unseen: (a, b) => (rows[a][SEEN] ?? -1) - (rows[b][SEEN] ?? -1) || a - b,
    name: (a, b) => (rows[a][SHOWN] < rows[b][SHOWN] ? -1 : rows[a][SHOWN] > rows[b][SHOWN] ? 1 : a - b),
  };
  let kind = "";
  let shown = [];
  let drawn = "";

  const height = () => (narrow.matches ? 56 : 44);

  function choose() {
    const words = plain(search.value).split(/\s+/).filter(Boolean);
    const wanted = kinds.indexOf(kind);
    shown = [];
    for (let i = 0; i < rows.length; i++) {
      if ((kind === "" || rows[i][KIND] === wanted) && words.every((word) => needles[i].includes(word))) shown.push(i);
    }
    shown.sort(orders[sort.value] || orders.pictures);
    found.textContent = shown.length.toLocaleString("en") + (shown.length === 1 ? " word" : " words");
    for (const chip of chips) chip.setAttribute("aria-pressed", String(chip.dataset.kind === kind));
    drawn = "";
    draw();
  }

  function cell(parent, name, text, title) {
    const element = document.createElement("span");
    element.className = name;
    element.textContent = text;
    if (title) element.title = title;
    parent.append(element);
  }

  function draw() {
    const step = height();
    list.style.height = shown.length * step + "px";
    const top = -list.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / step) - 10);
    const last = Math.min(shown.length, Math.ceil((top + innerHeight) / step) + 10);
    if (drawn === first + ":" + last + ":" + step) return;
    drawn = first + ":" + last + ":" + step;
    const focused = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.row : "";
    const fresh = document.createDocumentFragment();
    for (let place = first; place < last; place++) {
      const row = rows[shown[place]];
      const button = document.createElement("button");
      button.type = "button";
      button.className = "row";
      button.dataset.row = shown[place];
      button.style.top = place * step + "px";
      cell(button, "word", row[SHOWN], row[SHOWN]);
      cell(button, "of", row[SERIES] || kinds[row[KIND]], row[SERIES]);
      cell(button, "n", row[PICTURES].toLocaleString("en"));
      cell(button, "n seen", row[SEEN] === null ? "" : row[SEEN].toLocaleString("en"));
      fresh.append(button);
    }
    if (!shown.length) {
      const nothing = document.createElement("p");
      nothing.className = "nothing";
      nothing.textContent = "No word fits. It may have too few pictures to be listed.";
      fresh.append(nothing);
    }
    list.replaceChildren(fresh);
    if (focused) {
      const again = list.querySelector('[data-row="' + focused + '"]');
      if (again) again.focus({ preventScroll: true });
    }
  }

  function say(text) {
    toast.textContent = text;
    toast.classList.add("on");
    clearTimeout(say.timer);
    say.timer = setTimeout(() => toast.classList.remove("on"), 1600);
  }

  function copyByHand(text) {
    const area = document.createElement("textarea");
    area.value = text;
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      if (!copyByHand(text)) return say("Could not copy; select it by hand: " + text);
    }
    say("Copied: " + text);
  }

  function remember() {
    const state = new URLSearchParams();
    if (search.value) state.set("q", search.value);
    if (kind) state.set("kind", kind);
    if (sort.value !== "pictures") state.set("sort", sort.value);
    const hash = state.toString();
    history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
  }

  function recall() {
    const state = new URLSearchParams(location.hash.slice(1));
    search.value = state.get("q") || "";
    kind = kinds.includes(state.get("kind")) ? state.get("kind") : "";
    sort.value = state.get("sort") in orders ? state.get("sort") : "pictures";
    if (!sort.value) sort.value = "pictures";
    choose();
  }

  let waiting = 0;
  search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { remember(); choose(); }, 60);
  });
  sort.addEventListener("change", () => { remember(); choose(); });
  for (const chip of chips) {
    chip.addEventListener("click", () => { kind = chip.dataset.kind; remember(); choose(); });
  }
  list.addEventListener("click", (event) => {
    const button = event.target.closest("button.row");
    if (!button) return;
    const row = rows[button.dataset.row];
    copy(row[TRIGGER] ?? row[SHOWN]);
  });
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", draw);
  addEventListener("hashchange", recall);
  recall();
})();

"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const { axes, pictures } = JSON.parse(byId("data").textContent);
  const figures = [...document.querySelectorAll("#gallery figure")];
  const gallery = byId("gallery"), table = byId("table"), count = byId("count");
  let shown = figures.map((_, place) => place);

  // ---- a list: find by words

  const words = pictures.map((each) => [each.prompt, each.negative, ...each.facts.map((fact) => fact.join(" "))].join(" ").toLowerCase());
  const find = (text) => {
    const asked = text.toLowerCase().split(/\s+/).filter(Boolean);
    shown = figures.map((_, place) => place).filter((place) => asked.every((word) => words[place].includes(word)));
    const kept = new Set(shown);
    figures.forEach((figure, place) => { figure.hidden = !kept.has(place); });
    count.textContent = asked.length ? `${shown.length} of ${figures.length}` : "";
  };

  // ---- a comparison: any axis as columns or rows, of all others one value

  const strides = axes.map((_, at) => axes.slice(at + 1).reduce((product, axis) => product * axis.values.length, 1));
  const state = { columns: axes.length - 1, rows: axes.length - 2, chosen: axes.map(() => 0) };
  const option = (text, value, selected) => make("option", { textContent: text, value, selected });
  const choose = (label, options, change) => {
    const select = make("select", { onchange: () => { change(Number(select.value)); compare(); } }, ...options);
    return make("label", {}, `${label} `, select);
  };
  const short = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);

  const controls = () => {
    const named = (selected) => axes.map((axis, at) => option(axis.name, at, at === selected));
    const parts = [];
    if (axes.length > 1) {
      parts.push(choose("Columns", named(state.columns), (at) => {
        if (at === state.rows) state.rows = state.columns;
        state.columns = at;
      }));
      parts.push(choose("Rows", [...named(state.rows), option("none", -1, state.rows < 0)], (at) => {
        if (at === state.columns) state.columns = state.rows < 0 ? axes.findIndex((_, other) => other !== at) : state.rows;
        state.rows = at;
      }));
    }
    axes.forEach((axis, at) => {
      if (at === state.columns || at === state.rows) return;
      const options = axis.values.map((value, digit) => option(short(value), digit, digit === state.chosen[at]));
      parts.push(choose(axis.name, options, (digit) => { state.chosen[at] = digit; }));
    });
    byId("axes").replaceChildren(...parts);
  };

  const compare = () => {
    controls();
    const columns = axes[state.columns];
    const rows = state.rows < 0 ? { name: "", values: [""] } : axes[state.rows];
    shown = [];
    const head = make("tr", {}, make("th", { className: "corner", textContent: rows.name ? `${rows.name} ↓  ${columns.name} →` : columns.name }),
      ...columns.values.map((value) => make("th", { scope: "col", dir: "auto", textContent: value })));
    const body = rows.values.map((title, row) => make("tr", {},
      make("th", { scope: "row", dir: "auto", textContent: title }),
      ...columns.values.map((_, column) => {
        const digits = [...state.chosen];
        digits[state.columns] = column;
        if (state.rows >= 0) digits[state.rows] = row;
        const place = digits.reduce((sum, digit, at) => sum + digit * strides[at], 0);
        shown.push(place);
        return make("td", {}, figures[place]);
      })));
    table.replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
  };

  // ---- one picture, closely

  const viewer = byId("viewer"), stage = byId("stage"), large = byId("large");
  let at = 0;

  const show = (place) => {
    const picture = pictures[place], small = figures[place].querySelector("img");
    stage.classList.remove("near");
    large.style.width = "";
    large.onerror = () => { large.onerror = null; large.src = small.src; };
    large.src = picture.file;
    large.alt = picture.shown;
    large.className = "fits";
    byId("open").href = picture.file;
    byId("about-prompt").textContent = picture.shown || "(empty prompt)";
    byId("about-negative").textContent = picture.negative ? `Negative prompt: ${picture.negative}` : "";
    byId("about-facts").textContent = picture.facts.map((fact) => fact.join(": ")).join(" · ");
    byId("place").textContent = `${at + 1} / ${shown.length}`;
    byId("copy").textContent = "Copy prompt";
  };
  const go = (step) => {
    at = (at + step + shown.length) % shown.length;
    show(shown[at]);
  };
  const open = (place) => {
    at = Math.max(0, shown.indexOf(place));
    show(place);
    if (!viewer.open) viewer.showModal();
  };
  const approach = (event) => {
    const box = large.getBoundingClientRect();
    const scale = Math.min(box.width / large.naturalWidth, box.height / large.naturalHeight);
    if (stage.classList.toggle("near")) {
      const width = Math.max(large.naturalWidth, 2 * scale * large.naturalWidth);
      const drawn = { width: scale * large.naturalWidth, height: scale * large.naturalHeight };
      const x = (event.clientX - box.left - (box.width - drawn.width) / 2) / drawn.width;
      const y = (event.clientY - box.top - (box.height - drawn.height) / 2) / drawn.height;
      large.className = "";
      large.style.width = `${width}px`;
      stage.scrollTo(x * width - stage.clientWidth / 2, y * width * large.naturalHeight / large.naturalWidth - stage.clientHeight / 2);
    } else {
      large.className = "fits";
      large.style.width = "";
    }
  };

  figures.forEach((figure, place) => {
    figure.querySelector("a").addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      open(place);
    });
  });
  large.addEventListener("click", approach);
  byId("previous").addEventListener("click", () => go(-1));
  byId("next").addEventListener("click", () => go(1));
  byId("close").addEventListener("click", () => viewer.close());
  byId("copy").addEventListener("click", async () => {
    const text = pictures[shown[at]].prompt;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { value: text });
      viewer.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    byId("copy").textContent = "Copied";
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") go(-1);
    else if (event.key === "ArrowRight") go(1);
    else return;
    event.preventDefault();
  });
  let touch = null;
  stage.addEventListener("touchstart", (event) => { touch = event.touches.length === 1 ? event.touches[0].clientX : null; }, { passive: true });
  stage.addEventListener("touchend", (event) => {
    const moved = touch === null || stage.classList.contains("near") ? 0 : event.changedTouches[0].clientX - touch;
    if (Math.abs(moved) > 60 && (!window.visualViewport || window.visualViewport.scale === 1)) go(moved > 0 ? -1 : 1);
  });

  // ---- begin

  byId("zoom").addEventListener("input", (event) => {
    gallery.style.setProperty("--side", `${event.target.value}rem`);
    table.style.setProperty("--side", `${event.target.value}rem`);
  });
  byId("controls").hidden = false;
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  if (axes.length) {
    byId("search").hidden = true;
    gallery.hidden = true;
    table.hidden = false;
    compare();
  } else {
    byId("search").querySelector("input").addEventListener("input", (event) => find(event.target.value));
  }
})();

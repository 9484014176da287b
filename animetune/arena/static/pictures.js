// The pictures on the stage: as large as fits, zoomed and moved together, all or one at a time.

const GAP = 8;
const CAPTION = 28;
const MOST = 8; // times as large
const CLOSER = 2.5;
const SLOP = 9; // pixels that a finger may move in a tap

export class Pictures {
  /** `onChoose(place)` hears of clicks and taps. */
  constructor(box, onChoose) {
    this.box = box;
    this.onChoose = onChoose;
    this.shape = { width: 832, height: 1216 };
    this.at = { scale: 1, x: 0, y: 0 };
    this.alone = null;
    this.pointers = new Map();
    this.last = { x: 0.5, y: 0.4 };
    new ResizeObserver(() => this.fit()).observe(box);
    box.addEventListener("wheel", (event) => this.onWheel(event), { passive: false });
    box.addEventListener("pointerdown", (event) => this.onPointer(event));
    for (const kind of ["pointermove", "pointerup", "pointercancel"]) {
      addEventListener(kind, (event) => this.onPointer(event)); // also where a drag has left the pictures
    }
    box.addEventListener("click", (event) => this.onClick(event));
    box.addEventListener("mousedown", (event) => event.preventDefault()); // focus stays, so that Space means a draw
  }

  /** Frames for `count` pictures of a size; they stay where they are while the pictures in them change. */
  frames(count, shape) {
    this.shape = shape;
    while (this.box.children.length > count) this.box.lastChild.remove();
    while (this.box.children.length < count) this.box.append(frame(this.box.children.length));
    document.body.dataset.count = count;
    this.reset();
  }

  show(images) {
    [...this.box.children].forEach((figure, place) => {
      const button = figure.firstChild;
      button.replaceChildren(...(images[place] ? [images[place]] : []));
      button.setAttribute("aria-label", `Choose picture ${place + 1}`);
      figure.querySelector(".name").textContent = "";
      delete figure.dataset.place;
    });
    this.label(images.map((_, place) => place + 1));
    this.reset();
  }

  /** Marks the places, 0 the best; null takes the marks away. */
  mark(ranks) {
    [...this.box.children].forEach((figure, place) => {
      if (ranks?.[place] == null) delete figure.dataset.place;
      else figure.dataset.place = ranks[place];
    });
  }

  name(names) {
    [...this.box.children].forEach((figure, place) => {
      figure.querySelector(".name").textContent = names[place];
    });
  }

  /** What stands below each picture; those with a rank, not negative, are set off. */
  label(texts, ranks = []) {
    [...this.box.children].forEach((figure, place) => {
      figure.querySelector(".mark").textContent = texts[place];
      figure.toggleAttribute("data-ranked", ranks[place] >= 0);
    });
  }

  fit() {
    const count = this.box.children.length;
    const room = this.box.getBoundingClientRect();
    if (!count || !room.width) return;
    const shown = this.alone === null ? count : 1;
    const ratio = this.shape.width / this.shape.height;
    let best = { width: 0 };
    for (const columns of [4, 2, 1].filter((number) => shown % number === 0)) {
      const rows = shown / columns;
      const wide = (room.width - GAP * (columns - 1)) / columns;
      const high = ((room.height - GAP * (rows - 1)) / rows - CAPTION) * ratio;
      const width = Math.floor(Math.max(40, Math.min(wide, high)));
      if (width > best.width) best = { width, columns };
    }
    this.box.style.gridTemplateColumns = `repeat(${best.columns}, ${best.width}px)`;
    this.box.style.setProperty("--height", `${Math.round(best.width / ratio)}px`);
  }

  reset() {
    this.at = { scale: 1, x: 0, y: 0 };
    this.see(null);
    this.move();
  }

  /** One picture alone, or all of them for null. */
  see(place) {
    this.alone = place;
    document.body.toggleAttribute("data-alone", place !== null);
    [...this.box.children].forEach((figure, number) => figure.toggleAttribute("data-shown", number === place));
    this.fit();
  }

  /** All, the first alone, the second, ... and round again. */
  turn(step) {
    const count = this.box.children.length;
    const now = this.alone === null ? (step > 0 ? -1 : count) : this.alone;
    const next = now + step;
    this.see(next < 0 || next >= count ? null : next);
  }

  toggleZoom() {
    if (this.at.scale > 1) this.at = { scale: 1, x: 0, y: 0 };
    else this.zoom(CLOSER, this.last);
    this.move();
  }

  /** Scales around a point, in parts of the frame, that stays where it is. */
  zoom(factor, point) {
    const scale = Math.min(MOST, Math.max(1, this.at.scale * factor));
    const grown = scale / this.at.scale;
    this.at = { scale, x: point.x - (point.x - this.at.x) * grown, y: point.y - (point.y - this.at.y) * grown };
  }

  pan(x, y) {
    this.at = { ...this.at, x: this.at.x + x, y: this.at.y + y };
    this.move();
  }

  move() {
    const least = 1 - this.at.scale;
    this.at.x = Math.min(0, Math.max(least, this.at.x));
    this.at.y = Math.min(0, Math.max(least, this.at.y));
    const { scale, x, y } = this.at;
    const where = scale === 1 ? "" : `translate(${x * 100}%, ${y * 100}%) scale(${scale})`;
    for (const image of this.box.querySelectorAll("img")) image.style.transform = where;
    document.body.toggleAttribute("data-zoomed", scale > 1);
    document.getElementById("zoom").setAttribute("aria-pressed", scale > 1);
  }

  /** Where in its frame an event is, and how large that frame is; null outside of all. */
  within(event) {
    const target = this.pointers.has(event.pointerId) ? this.held : event.target.closest?.(".picture");
    if (!target) return null;
    const frame = target.getBoundingClientRect();
    const x = (event.clientX - frame.left) / frame.width;
    const y = (event.clientY - frame.top) / frame.height;
    return { x, y, width: frame.width, height: frame.height, target };
  }

  onWheel(event) {
    const place = this.within(event);
    if (!place) return;
    event.preventDefault();
    this.zoom(Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) / 300), place);
    this.move();
  }

  onPointer(event) {
    const place = this.within(event);
    if (event.type === "pointerdown") {
      if (!place || (event.pointerType === "mouse" && event.button !== 0)) return;
      if (!this.pointers.size) Object.assign(this, { travelled: 0, start: { x: event.clientX, y: event.clientY } });
      this.held = place.target;
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
      return;
    }
    if (event.type === "pointermove") {
      if (place) this.last = { x: place.x, y: place.y };
      if (place && this.pointers.has(event.pointerId)) this.drag(event, place);
      return;
    }
    if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
    const across = event.clientX - this.start.x;
    const isSwipe = event.pointerType === "touch" && event.type === "pointerup" && this.at.scale === 1 && !this.pinched;
    if (isSwipe && Math.abs(across) > 45 && Math.abs(across) > 1.5 * Math.abs(event.clientY - this.start.y)) {
      this.turn(across < 0 ? 1 : -1);
    }
    this.pinched = false;
  }

  drag(event, place) {
    const before = this.pointers.get(event.pointerId);
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.pointers.set(event.pointerId, now);
    this.travelled = Math.max(this.travelled, Math.hypot(now.x - this.start.x, now.y - this.start.y));
    if (other) {
      this.pinched = true;
      this.travelled = Infinity;
      const grown = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
      const frame = place.target.getBoundingClientRect();
      const middle = { x: (now.x + other.x) / 2 - frame.left, y: (now.y + other.y) / 2 - frame.top };
      this.zoom(grown, { x: middle.x / frame.width, y: middle.y / frame.height });
      this.pan((now.x - before.x) / 2 / frame.width, (now.y - before.y) / 2 / frame.height);
    } else if (this.at.scale > 1 && this.travelled > SLOP) {
      this.pan((now.x - before.x) / place.width, (now.y - before.y) / place.height);
    }
  }

  onClick(event) {
    const target = event.target.closest(".picture");
    const isTap = event.detail === 0 || !(this.travelled > SLOP); // 0: by the keyboard
    this.travelled = 0;
    if (target && isTap) this.onChoose([...this.box.children].indexOf(target.parentElement));
  }
}

function frame(place) {
  const figure = document.createElement("figure");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "picture";
  button.setAttribute("aria-label", `Picture ${place + 1}, loading`);
  const caption = document.createElement("figcaption");
  const mark = document.createElement("kbd");
  mark.className = "mark";
  mark.textContent = place + 1;
  const name = document.createElement("span");
  name.className = "name";
  caption.append(mark, name);
  figure.append(button, caption);
  return figure;
}

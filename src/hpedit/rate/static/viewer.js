// Viewer of one item's pictures: as large as the stage allows, flipped in place, zoomed and panned together.
//
// All pictures of an item have one size, so one view (zoom and centre, as fractions of the picture) serves all frames.
// Positions are set through the CSSOM, which a CSP without inline styles permits.

const MAX_ZOOM = 16;
const GAP = 14;
/** Milliseconds after which a press is a hold instead of a click or drag. */
const HOLD_MS = 140;
/** Pixels that a pointer may move within a hold. */
const SLACK = 6;

export class Viewer {
  #panels = [];
  #size = { width: 1, height: 1 };
  #view = { zoom: 1, x: 0.5, y: 0.5 };
  #base = 1;
  #show = 0;
  #pointers = new Map();
  #flip = null;

  /** @param {HTMLElement} stage @param {(zoom: number) => void} onZoom */
  constructor(stage, onZoom) {
    this.stage = stage;
    this.onZoom = onZoom;
    new ResizeObserver(() => this.#layout()).observe(stage);
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, (event) => this.#up(event));
    stage.addEventListener("dblclick", (event) => this.#toggleZoom(event));
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    stage.addEventListener("dragstart", (event) => event.preventDefault());
  }

  /** Show an item's pictures; resolves to true once all are decoded, to false if another item came in between. */
  async show(item) {
    const turn = ++this.#show;
    this.#pointers.clear();
    this.#flip = null;
    this.#size = { width: item.width, height: item.height };
    this.#panels = panelsOf(item);
    this.stage.classList.add("waiting");
    this.stage.replaceChildren(...this.#panels.map((panel) => panel.figure));
    this.fit();
    try {
      await Promise.all(this.#panels.flatMap((panel) => panel.images.map((image) => image.decode())));
    } catch (error) {
      if (turn === this.#show) throw error;
    }
    if (turn !== this.#show) return false;
    this.stage.classList.remove("waiting");
    return true;
  }

  clear() {
    this.#show += 1;
    this.#panels = [];
    this.stage.replaceChildren();
  }

  /** Show the "source" in place of every edit, "swap" A and B, or null: every picture in its own place. */
  flip(what) {
    this.#flip = what;
    this.#panels.forEach((panel, index) => this.#face(panel, this.#wanted(index, what)));
  }

  #wanted(index, what) {
    if (what === "source") return 0;
    if (what === "swap" && index > 0) return this.#panels.length - index;
    return index;
  }

  #face(panel, which) {
    const own = this.#panels.indexOf(panel);
    panel.images.forEach((image) => image.classList.toggle("front", Number(image.dataset.which) === which));
    panel.caption.textContent = this.#panels[which].name;
    panel.figure.classList.toggle("flipped", which !== own);
  }

  fit() {
    this.#view = { zoom: 1, x: 0.5, y: 0.5 };
    this.#layout();
  }

  /** Zoom by a factor about the centre of the view. */
  zoomBy(factor) {
    this.#zoomTo(this.#view.zoom * factor);
  }

  /** Pan by fractions of the view. */
  pan(right, down) {
    const frame = this.#frame();
    this.#view.x += (right * frame.width) / this.#drawn("width");
    this.#view.y += (down * frame.height) / this.#drawn("height");
    this.#layout();
  }

  #drawn(side) {
    return this.#size[side] * this.#base * this.#view.zoom;
  }

  #frame() {
    const cell = this.cell ?? { width: 1, height: 1 };
    return { width: Math.min(cell.width, this.#drawn("width")), height: Math.min(cell.height, this.#drawn("height")) };
  }

  /** Zoom about the point under the pointer; frames may grow meanwhile. */
  #zoomTo(zoom, at = null, panel = null) {
    const before = at && panel ? this.#pointAt(at, panel) : null;
    this.#view.zoom = Math.min(MAX_ZOOM, Math.max(1, zoom));
    this.#layout();
    if (!before) return;
    const after = this.#pointAt(at, panel);
    this.#view.x += before.x - after.x;
    this.#view.y += before.y - after.y;
    this.#layout();
  }

  /** The point of the picture, as fractions, under a position on the page. */
  #pointAt(at, panel) {
    const box = panel.frame.getBoundingClientRect();
    return {
      x: this.#view.x + (at.x - box.left - box.width / 2) / this.#drawn("width"),
      y: this.#view.y + (at.y - box.top - box.height / 2) / this.#drawn("height"),
    };
  }

  #layout() {
    if (!this.#panels.length || !this.stage.clientWidth) return;
    const stage = { width: this.stage.clientWidth, height: this.stage.clientHeight };
    const { columns, cell, scale } = arrange(this.#panels.length, this.#size, stage, this.#panels[0].caption.offsetHeight);
    this.cell = cell;
    this.#base = crisp(scale);
    this.stage.style.gridTemplateColumns = `repeat(${columns}, max-content)`;
    const frame = this.#frame();
    for (const [axis, side] of [["x", "width"], ["y", "height"]]) {
      const half = frame[side] / this.#drawn(side) / 2;
      this.#view[axis] = Math.min(1 - half, Math.max(half, this.#view[axis]));
    }
    const left = frame.width / 2 - this.#view.x * this.#drawn("width");
    const top = frame.height / 2 - this.#view.y * this.#drawn("height");
    // At two or more screen pixels per picture pixel, smoothing would hide what the rater looks for.
    const blocks = this.#base * this.#view.zoom * devicePixelRatio >= 2;
    for (const [index, panel] of this.#panels.entries()) {
      panel.figure.classList.toggle("whole-row", columns === 2 && this.#panels.length === 3 && index === 0);
      Object.assign(panel.frame.style, { width: `${frame.width}px`, height: `${frame.height}px` });
      for (const image of panel.images) {
        Object.assign(image.style, { width: `${this.#drawn("width")}px`, height: `${this.#drawn("height")}px` });
        image.style.transform = `translate(${left}px, ${top}px)`;
        image.classList.toggle("blocks", blocks);
      }
    }
    this.stage.classList.toggle("zoomed", this.#view.zoom > 1);
    this.onZoom(this.#view.zoom);
  }

  #panelAt(event) {
    const frame = event.target.closest?.(".frame");
    return frame ? this.#panels.find((panel) => panel.frame === frame) : undefined;
  }

  #wheel(event) {
    const panel = this.#panelAt(event);
    if (!panel) return;
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : 1;
    // A trackpad's pinch arrives as a wheel with ctrlKey and small steps.
    const speed = event.ctrlKey ? 0.01 : 0.002;
    this.#zoomTo(this.#view.zoom * Math.exp(-event.deltaY * lines * speed), { x: event.clientX, y: event.clientY }, panel);
  }

  #toggleZoom(event) {
    const panel = this.#panelAt(event);
    if (panel) this.#zoomTo(this.#view.zoom > 1 ? 1 : 3, { x: event.clientX, y: event.clientY }, panel);
  }

  #down(event) {
    const panel = this.#panelAt(event);
    if (!panel || event.button !== 0) return;
    this.stage.setPointerCapture(event.pointerId);
    const pointer = { x: event.clientX, y: event.clientY, panel, holding: false, timer: 0 };
    this.#pointers.set(event.pointerId, pointer);
    if (this.#pointers.size > 1) this.#endHolds();
    else pointer.timer = setTimeout(() => this.#hold(pointer), HOLD_MS);
  }

  /** The pressed edit shows the source; the pressed source shows the edit, where there is only one. */
  #hold(pointer) {
    const own = this.#panels.indexOf(pointer.panel);
    if (own === 0 && this.#panels.length !== 2) return;
    pointer.holding = true;
    this.#face(pointer.panel, own === 0 ? 1 : 0);
  }

  #endHolds() {
    for (const pointer of this.#pointers.values()) {
      clearTimeout(pointer.timer);
      pointer.holding = false;
    }
    this.flip(this.#flip);
  }

  #move(event) {
    const pointer = this.#pointers.get(event.pointerId);
    if (!pointer || pointer.holding) return;
    const moved = { x: event.clientX - pointer.x, y: event.clientY - pointer.y };
    if (this.#pointers.size === 1 && pointer.timer && Math.hypot(moved.x, moved.y) < SLACK) return;
    clearTimeout(pointer.timer);
    pointer.timer = 0;
    const spread = this.#spread();
    Object.assign(pointer, { x: event.clientX, y: event.clientY });
    const now = this.#spread();
    if (now) this.#zoomTo(this.#view.zoom * (now.distance / Math.max(1, spread.distance)), now.centre, pointer.panel);
    const share = 1 / Math.max(1, this.#pointers.size);
    this.#view.x -= (moved.x * share) / this.#drawn("width");
    this.#view.y -= (moved.y * share) / this.#drawn("height");
    this.#layout();
  }

  #spread() {
    if (this.#pointers.size < 2) return null;
    const [a, b] = this.#pointers.values();
    return { distance: Math.hypot(a.x - b.x, a.y - b.y), centre: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 } };
  }

  #up(event) {
    if (!this.#pointers.has(event.pointerId)) return;
    this.#endHolds();
    this.#pointers.delete(event.pointerId);
  }
}

function panelsOf(item) {
  const names = item.edits.length > 1 ? ["Source", "A", "B"] : ["Source", "Edit"];
  const addresses = [item.source, ...item.edits];
  return addresses.map((_, own) => {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const frame = document.createElement("div");
    frame.className = "frame";
    caption.textContent = names[own];
    // Every frame holds all pictures, so that a flip needs no loading.
    const images = addresses.map((address, which) => {
      const image = new Image();
      image.dataset.which = String(which);
      image.alt = which === own ? `${names[which]} picture` : "";
      image.draggable = false;
      image.classList.toggle("front", which === own);
      image.src = address;
      return image;
    });
    frame.append(...images);
    figure.append(caption, frame);
    return { figure, caption, frame, images, name: names[own] };
  });
}

/** The number of columns that shows `count` pictures largest, the size of one cell, and the scale to fit it. */
function arrange(count, size, { width, height }, caption) {
  let best = null;
  for (let columns = count; columns >= 1; columns -= 1) {
    const rows = Math.ceil(count / columns);
    const cell = {
      width: Math.floor((width - GAP * (columns - 1)) / columns),
      height: Math.floor((height - GAP * (rows - 1)) / rows - caption),
    };
    const scale = Math.max(0.01, Math.min(cell.width / size.width, cell.height / size.height));
    if (!best || scale > best.scale * 1.02) best = { columns, cell, scale };
  }
  return best;
}

/** Round a scale so that a small picture's pixels become squares of whole screen pixels. */
function crisp(scale) {
  const device = scale * devicePixelRatio;
  return device >= 2 ? Math.floor(device) / devicePixelRatio : scale;
}

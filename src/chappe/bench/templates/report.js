(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const one = (selector, root = document) => root.querySelector(selector);

  // Light and dark.
  const root = document.documentElement;
  one(".theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  // Charts: what a point says, and which curves are shown.
  const tip = one("#tip");
  const say = (text, x, y) => {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(innerWidth - box.width - 8, x - box.width / 2)) + "px";
    tip.style.top = (y - box.height - 14 < 4 ? y + 16 : y - box.height - 14) + "px";
  };
  for (const svg of all("svg.chart")) {
    const group = svg.closest(".charts");
    const points = all(".pt", svg);
    const near = (event) => {
      let best = null, distance = 22 * 22;
      for (const point of points) {
        if (point.parentNode.classList.contains("off")) continue;
        const box = point.getBoundingClientRect();
        const dx = event.clientX - box.x - box.width / 2, dy = event.clientY - box.y - box.height / 2;
        if (dx * dx + dy * dy < distance) { distance = dx * dx + dy * dy; best = { point, box }; }
      }
      all(".series", group).forEach((s) => s.classList.toggle("lit", !!best && s.dataset.series === best.point.parentNode.dataset.series));
      group.classList.toggle("dim", !!best);
      say(best && best.point.dataset.tip, best && best.box.x + best.box.width / 2, best && best.box.y);
    };
    svg.addEventListener("pointermove", near);
    svg.addEventListener("pointerdown", near);
    svg.addEventListener("pointerleave", () => { group.classList.remove("dim"); say(null); });
  }
  for (const button of all(".legend button")) {
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") === "false";
      for (const twin of all(".legend button").filter((b) => b.dataset.series === button.dataset.series))
        twin.setAttribute("aria-pressed", on);
      all("svg .series").filter((s) => s.dataset.series === button.dataset.series).forEach((s) => s.classList.toggle("off", !on));
    });
  }

  // The gallery: one viewer, many pictures.
  const store = one("#scenes");
  if (!store) return;
  const scenes = JSON.parse(store.textContent);
  const viewer = one(".viewer"), stage = one(".stage", viewer), divider = one(".divider", viewer);
  const images = { original: one(".original", stage), decoded: one(".decoded", stage), veil: one(".veil", stage) };
  const state = { scene: 0, codec: scenes[0].shown[0].codec, point: viewer.dataset.point, tokens: false, x: 50 };

  const make = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    node.textContent = text;
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const move = (percent) => {
    state.x = Math.max(0, Math.min(100, percent));
    stage.style.setProperty("--x", state.x + "%");
    divider.setAttribute("aria-valuenow", Math.round(state.x));
  };
  const pointed = (event) => {
    const box = stage.getBoundingClientRect();
    move(((event.clientX - box.x) / box.width) * 100);
  };
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pointed(event);
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => stage.hasPointerCapture(event.pointerId) && pointed(event));
  divider.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 10 : 2;
    const to = { ArrowLeft: state.x - step, ArrowDown: state.x - step, ArrowRight: state.x + step, ArrowUp: state.x + step,
      PageDown: state.x - 10, PageUp: state.x + 10, Home: 0, End: 100 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });

  const chips = (holder, names, current, enabled, pick) => holder.replaceChildren(...names.map((name) => {
    const chip = make("button", name, { type: "button", "aria-pressed": name === current });
    chip.disabled = !enabled(name);
    if (chip.disabled) chip.title = "out of reach on this picture";
    chip.addEventListener("click", () => { pick(name); draw(); [...holder.children].find((c) => c.textContent === name)?.focus(); });
    return chip;
  }));
  const unique = (list) => [...new Set(list)];
  const points = unique(scenes.flatMap((s) => s.shown.map((v) => v.point))).sort((a, b) => a - b || (a > b ? 1 : -1));

  function draw() {
    const scene = scenes[state.scene];
    const mine = scene.shown.filter((v) => v.codec === state.codec);
    const offered = mine.length ? mine : scene.shown;
    const gap = (v) => Math.abs(Math.log(v.bpp / (parseFloat(state.point) || v.bpp)));
    const view = offered.find((v) => v.point === state.point) || [...offered].sort((a, b) => gap(a) - gap(b))[0];
    state.codec = view.codec;
    stage.style.aspectRatio = scene.width + " / " + scene.height;
    images.original.src = scene.image;
    images.decoded.src = view.image;
    images.decoded.alt = "decoded by " + view.codec;
    images.veil.hidden = !(state.tokens && view.tokens);
    if (view.tokens) images.veil.src = view.tokens;
    one(".left", stage).textContent = "original";
    one(".right", stage).textContent = view.codec;
    all(".thumbs button", viewer).forEach((b, i) => b.setAttribute("aria-pressed", i === state.scene));
    chips(one(".codecs", viewer), unique(scenes.flatMap((s) => s.shown.map((v) => v.codec))), view.codec,
      (name) => scene.shown.some((v) => v.codec === name), (name) => { state.codec = name; });
    chips(one(".points", viewer), points, view.point,
      (name) => mine.some((v) => v.point === name), (name) => { state.point = name; });
    const toggle = one(".tokens", viewer);
    toggle.disabled = !view.tokens;
    toggle.setAttribute("aria-pressed", state.tokens && !!view.tokens);
    toggle.textContent = view.kept ? "kept tokens: " + view.kept : "kept tokens";
    toggle.title = view.tokens ? "darken what was not sent" : "this codec sends no tokens";
    const facts = one(".facts", viewer);
    facts.replaceChildren(make("b", view.bytes.toLocaleString("en") + " bytes"),
      ...view.facts.flatMap((fact) => [" · ", make("span", fact)]));
    const total = Object.values(view.sections).reduce((a, b) => a + b, 0);
    const names = Object.keys(view.sections);
    one(".parts", viewer).replaceChildren(...names.flatMap((name, i) => {
      const key = make("span", name + " " + view.sections[name] + " B");
      key.prepend(make("i", "", { class: "p" + (i % 6) }));
      return total ? [key] : [];
    }));
    one(".maps", viewer).replaceChildren(...[...scene.maps, ...view.maps].map((map) => {
      const figure = make("figure", "");
      const img = make("img", "", { alt: map.caption });
      img.src = map.image;
      figure.append(img, make("figcaption", map.caption));
      return figure;
    }));
  }
  all(".thumbs button", viewer).forEach((button, i) => button.addEventListener("click", () => { state.scene = i; draw(); }));
  one(".tokens", viewer).addEventListener("click", () => { state.tokens = !state.tokens; draw(); });
  draw();
  move(50);
})();

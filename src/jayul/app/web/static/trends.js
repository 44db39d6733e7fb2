// The trends page: what is shown stands in the address; data from /data, what is new from /stream.
"use strict";
(() => {
  const root = document.getElementById("trends"), $ = (id) => document.getElementById(id);
  const texts = JSON.parse(root.dataset.texts), base = root.dataset.base, zone = root.dataset.zone, lang = document.documentElement.lang;
  const SPANS = { "1h": 3.6e6, "8h": 2.88e7, "24h": 8.64e7, "7d": 6.048e8 };
  const MOST = 12, LEAST = 100, OVERLAP = 10_000, PAINTED = "jayul-curve-drawn"; // tags; ms that can be shown at least; ms that are asked for twice
  let tags = new Map(), state = null, home = null, shown = null, panes = [], source = null, asking = null, timer = 0, grown = 0, meanwhile = [];
  const format = new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" }); // 2026-01-31 08:00:00, as on the other pages
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, key) => values[key] ?? whole);
  const number = (x) => {
    if (x === null || x === undefined || !Number.isFinite(x)) return "–";
    if (x && (Math.abs(x) < 1e-4 || Math.abs(x) >= 1e7)) return x.toExponential(3);
    return x.toLocaleString(lang, { maximumSignificantDigits: Math.max(4, Math.trunc(Math.log10(Math.abs(x) || 1)) + 1) });
  };
  let tick = $("replay")?.dataset.tick; // of a replay
  const iso = (ms) => new Date(ms).toISOString();

  // ---- address
  function parse() {
    const query = new URLSearchParams(location.search), names = [];
    for (const text of query.getAll("tags")) names.push(...(tags.has(text) ? [text] : text.split(",").filter(Boolean)));
    const from = moment(query.get("from")), to = moment(query.get("to"));
    const found = { tags: [...new Set(names)], last: query.get("last") || root.dataset.last, from: 0, to: 0 };
    if (!found.tags.length && !query.has("tags")) found.tags = JSON.parse(root.dataset.first);
    if (from !== null && to !== null) Object.assign(found, { last: "", from, to });
    return found;
  }
  function moment(text) {
    if (text === null) return null;
    return /^-?\d+$/.test(text) ? Number(text) / 1e6 : Number.isNaN(Date.parse(text)) ? null : Date.parse(text);
  }
  function question(extra = {}) {
    const query = new URLSearchParams();
    if (!state.tags.length) query.append("tags", "");
    for (const name of state.tags) query.append("tags", name);
    if (state.last) query.set("last", state.last);
    else { query.set("from", iso(state.from)); query.set("to", iso(state.to)); }
    if (tick) query.set("tick", tick);
    for (const [key, value] of Object.entries(extra)) query.set(key, value);
    return query.toString();
  }
  function go(change, { push = true, wait = 0 } = {}) {
    if (!state) return; // not begun
    state = { ...state, ...change };
    const speed = new URLSearchParams(location.search).get("speed"), address = `?${question(speed ? { speed } : {})}`; // panes that are zoomed together all say so: one step in the history of the browser
    if (push && address !== location.search) history.pushState(null, "", address);
    else history.replaceState(null, "", address);
    buttons();
    clearTimeout(timer);
    timer = setTimeout(load, wait);
  }
  const zoomed = (a, b, wait = 0) => {
    const middle = (a + b) / 2, half = Math.max(b - a, LEAST) / 2;
    const push = !wait || !timer;
    shown && Object.assign(shown, { low: middle - half, high: middle + half });
    for (const pane of panes) pane.u.setScale("x", { min: middle - half, max: middle + half });
    happenings();
    said();
    go({ last: "", from: middle - half, to: middle + half }, { push, wait });
  };
  const by = (factor, at = 0.5) => {
    if (!shown) return;
    const span = shown.high - shown.low, middle = shown.low + span * at;
    zoomed(middle - span * factor * at, middle + span * factor * (1 - at), 150);
  };
  const pan = (share) => shown && zoomed(shown.low + (shown.high - shown.low) * share, shown.high + (shown.high - shown.low) * share, 150);
  const reset = () => home && go({ last: home.last, from: home.from, to: home.to });

  // ---- data
  async function asked(url, how = {}) { // of a run that the server still reads, again and again
    for (;;) {
      const answer = await fetch(url, how), found = await answer.json();
      if (answer.ok) return found;
      if (answer.status !== 503) throw new Error(found.error);
      await new Promise((go) => setTimeout(go, Jayul.RETRY));
    }
  }
  async function load() {
    timer = 0;
    asking?.abort();
    const mine = asking = new AbortController();
    meanwhile = []; // what the stream says while the answer is under way may be newer than the answer
    root.classList.add("loading");
    const width = Math.max(200, Math.round($("charts").clientWidth - TrendsDraw.GUTTER - TrendsDraw.RIGHT));
    try {
      take(await asked(`${base}/data?${question({ width })}`, { signal: mine.signal }));
      $("trouble").hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      $("trouble").textContent = fill(texts.lost, { why: error.message });
      $("trouble").hidden = false;
      if (state.last && !tick) timer = setTimeout(load, 5 * Jayul.RETRY);
    } finally {
      if (mine === asking) {
        asking = null;
        root.classList.remove("loading");
      }
    }
  }
  function take(found) {
    const curves = new Map(found.curves.map((c) => [c.tag, { value: [], min: [], max: [], step: 0, bad: [], gaps: [], holds: false, ...c }]));
    const fresh = !shown || panes.length === 0 || panes.key !== layout();
    shown = { ...found, low: found.low / 1e6, high: found.high / 1e6, curves, unlisted: found.unlisted };
    grown = 0;
    if (fresh) build(); else redraw();
    legend();
    listed();
    follow();
    meanwhile.forEach(append);
    performance.mark(PAINTED);
  }
  const model = {
    curve: (name) => shown.curves.get(name), marks: () => shown.marks, newest: () => Math.min(shown.newest, shown.high * 1e6),
    range: () => [shown.low, shown.high],
  };
  const unit = (name) => tags.get(name)?.unit ?? "";
  const groups = () => {
    const found = new Map();
    for (const name of state.tags) found.set(unit(name), [...(found.get(unit(name)) ?? []), name]);
    return found;
  };
  const layout = () => JSON.stringify([state.tags, $("charts").clientWidth, innerHeight, document.documentElement.dataset.theme]);
  const colourOf = (name) => TrendsDraw.colour(state.tags.indexOf(name));
  function build() {
    for (const pane of panes) pane.u.destroy();
    $("panes").replaceChildren();
    const units = [...groups()], width = $("charts").clientWidth;
    const room = Math.max(innerHeight - $("charts").getBoundingClientRect().top - scrollY - 190, 260);
    const height = Math.min(Math.max(Math.floor((room - 40) / Math.max(units.length, 1)), 110), 520);
    panes = units.map(([of, names], i) => {
      const host = document.createElement("div"), title = document.createElement("h2"), last = i === units.length - 1;
      host.className = "pane";
      title.textContent = of || texts.unit;
      host.append(title);
      $("panes").append(host);
      const series = names.map((name) => ({ tag: tags.get(name) ?? { name, unit: "" }, colour: colourOf(name) }));
      return TrendsDraw.pane(host, model, {
        series, texts, zone, lang, last, width, height: height + (last ? 36 : 0), reset, cursor: cursor, zoomed: (a, b) => zoomed(a, b),
      });
    });
    panes.key = layout();
    happenings();
    said();
  }
  function redraw() {
    for (const pane of panes) pane.refresh();
    happenings();
    said();
  }
  function happenings() {
    const names = {};
    for (const mark of shown.marks) names[mark.kind] = mark.word;
    TrendsDraw.strip($("strip"), shown.marks, [shown.low, shown.high], $("charts").clientWidth, names, (first, n) => fill(texts.others, { first, n }));
  }
  function said() {
    $("shown").textContent = `${format.format(shown.low)} – ${format.format(shown.high)}`;
    const steps = [...shown.curves.values()].map((c) => c.step);
    const step = Math.max(0, ...steps), points = [...shown.curves.values()].reduce((n, c) => n + c.at.length, 0);
    const span = step >= 3.6e12 ? fill(texts.h, { n: step / 3.6e12 }) : step >= 6e10 ? fill(texts.min, { n: step / 6e10 }) : fill(texts.s, { n: step / 1e9 });
    $("detail").textContent = !points ? texts.empty : step ? fill(texts.columns, { span }) : texts.samples;
    $("csv").href = `${base}/export?${question({ format: "csv" })}`;
    $("parquet").href = `${base}/export?${question({ format: "parquet" })}`;
    $("charts").dataset.points = points;
  }
  function buttons() {
    for (const button of root.querySelectorAll("[data-last]")) button.setAttribute("aria-pressed", String(button.dataset.last === state.last));
    $("follows").hidden = !state.last || Boolean(tick) || "complete" in root.dataset;
  }

  // ---- live: what the stream says is put behind what is there; nothing is drawn twice and nothing is left out
  function follow() {
    const key = state.last && !tick ? [...state.tags].sort().join("\n") : "";
    if (source && source.key === key) return;
    source?.close();
    source = null;
    if (!key) return;
    const query = new URLSearchParams();
    for (const name of state.tags) query.append("tags", name);
    query.set("since", Math.floor(shown.newest / 1e6) - OVERLAP); // the curves end at the newest tick; samples may be known that are newer
    source = new EventSource(`${base}/stream?${query}`);
    source.key = key;
    const mine = source, begin = () => { if (source === mine) { source = null; load(); } }; // all anew: what came meanwhile is in the answer
    source.addEventListener("trend", (event) => heard(JSON.parse(event.data)));
    source.addEventListener("again", load);
    source.addEventListener("error", () => { if (mine.readyState === EventSource.CLOSED) setTimeout(begin, Jayul.RETRY); });
    Jayul.watch(source, begin, "trend", "again");
  }
  function heard(news) {
    if (asking) meanwhile.push(news);
    append(news);
  }
  function append(news) {
    if (!shown || !state.last) return;
    const span = shown.high - shown.low;
    for (const [name, [at, value, status]] of Object.entries(news.tags)) {
      const curve = shown.curves.get(name);
      if (curve) at.forEach((x, i) => add(curve, x, status[i] >= 0x40000000 ? null : value[i]));
    }
    shown.newest = Math.max(shown.newest, news.newest);
    for (const curve of shown.curves.values()) silent(curve, shown.newest);
    shown.high = Math.max(shown.high, shown.newest / 1e6);
    if (state.last !== "all") shown.low = shown.high - span;
    const key = (m) => `${m.kind} ${m.at} ${m.tag} ${m.who}`, there = new Map(shown.marks.map((m) => [key(m), m]));
    for (const mark of news.marks) there.set(key(mark), mark);
    for (const mark of there.values()) if (mark.open) mark.until = Math.max(mark.until, Math.min(shown.newest, mark.end ?? shown.newest));
    shown.marks = [...there.values()].sort((a, b) => a.at - b.at);
    const block = new Map(); // a part of a block ends where the next begins
    for (const mark of shown.marks.filter((m) => m.kind === "block")) {
      const before = block.get(mark.who);
      if (before?.open) Object.assign(before, { until: mark.at, open: false });
      block.set(mark.who, mark);
    }
    redraw();
    cursor(panes[0]?.u);
    if (news.marks.length) listed();
    grown += 1;
    if (grown >= 120) load(); // columns anew, before there are many more points than pixels
  }
  function silent(curve, newest) { // nothing since its last sample, while the run ticks
    if (curve.holds) return;
    const n = curve.at.length, end = n ? curve.at[n - 1] + curve.step : -Infinity, open = curve.gaps.at(-1);
    if (open && open[0] >= end) open[1] = Math.max(open[1], newest);
    else if (n && newest - end > (tags.get(curve.tag)?.stale_after ?? 60) * 1e9) curve.gaps.push([end, newest]);
  }
  function add(curve, at, value) {
    const n = curve.at.length, last = n ? curve.at[n - 1] : -Infinity, stale = (tags.get(curve.tag)?.stale_after ?? 60) * 1e9;
    const end = curve.step && n ? last + curve.step : last;
    if (curve.step ? at < end : at <= last) {
      const i = curve.step ? curve.at.findLastIndex((x) => x <= at) : curve.at.indexOf(at);
      if (i < 0) return; // late and new: it is there at the next loading
      if (!curve.step) { curve.value[i] = value; return; } // told again, or corrected
      if (value === null) return;
      curve.min[i] = curve.min[i] === null ? value : Math.min(curve.min[i], value);
      curve.max[i] = curve.max[i] === null ? value : Math.max(curve.max[i], value);
      return;
    }
    if (!curve.holds) {
      const open = curve.gaps.at(-1);
      if (open && !n) open[1] = at;
      else if (open && open[0] >= end) curve.gaps.pop(); // it grew until now
      if (n && at - end > stale) curve.gaps.push([end, at]);
    }
    if (curve.step) {
      curve.at.push(Math.floor(at / curve.step) * curve.step); curve.min.push(value); curve.max.push(value);
    } else { curve.at.push(at); curve.value.push(value); }
    if (value === null) {
      const before = curve.bad.at(-1), until = curve.step ? curve.at.at(-1) + curve.step : at;
      if (before && before[1] >= (curve.step ? curve.at.at(-1) : last)) before[1] = until;
      else curve.bad.push([at, until]);
    }
  }

  // ---- legend, cursor
  function legend() {
    $("legend").replaceChildren(...state.tags.map((name) => {
      const row = document.createElement("tr"), tag = tags.get(name) ?? { name, unit: "", description: "" };
      const place = groups().get(unit(name)).indexOf(name);
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg"), stroke = document.createElementNS(svg.namespaceURI, "line");
      for (const [key, value] of Object.entries({ width: 30, height: 12, "aria-hidden": "true" })) svg.setAttribute(key, value);
      for (const [key, value] of Object.entries({ x1: 0, x2: 30, y1: 6, y2: 6, "stroke-width": 2.5, stroke: colourOf(name), "stroke-dasharray": TrendsDraw.DASHES[place % 6].join(" ") })) stroke.setAttribute(key, value);
      svg.append(stroke);
      const cells = ["td", "th", "td", "td", "td", "td"].map((kind) => document.createElement(kind));
      cells[0].append(svg);
      cells[1].scope = "row";
      for (const part of name.split(/(?<=[_./])/)) cells[1].append(part, document.createElement("wbr"));
      if (tag.description) { const small = document.createElement("small"); small.textContent = tag.description; cells[1].append(small); }
      cells[2].className = "num value"; cells[3].className = cells[4].className = "num end";
      const button = document.createElement("button");
      button.type = "button"; button.textContent = "×"; button.setAttribute("aria-label", fill(texts.remove, { tag: name }));
      button.addEventListener("click", () => { choose(name, false); $("picker").querySelector("summary").focus(); });
      cells[5].append(button);
      row.dataset.tag = name;
      row.append(...cells);
      return row;
    }));
    cursor(panes[0]?.u);
  }
  let planned = false;
  function cursor(u) {
    if (!u || planned) return;
    planned = true;
    requestAnimationFrame(() => {
      planned = false;
      if (!shown) return;
      const inside = u.cursor.left !== undefined && u.cursor.left >= 0;
      const at = inside ? u.posToVal(u.cursor.left, "x") : Math.min(shown.high, shown.newest ? Math.max(shown.newest / 1e6, shown.low) : shown.high);
      $("cursor-at").textContent = format.format(at);
      for (const row of $("legend").rows) values(row, shown.curves.get(row.dataset.tag), at * 1e6);
    });
  }
  function values(row, curve, at) {
    const [, , value, least, greatest] = row.cells, tag = tags.get(row.dataset.tag);
    if (!curve) return;
    const within = (spans) => spans.some(([a, b]) => a <= at && at < b);
    const i = curve.at.findLastIndex((x) => x <= at), of = document.createElement("small");
    of.textContent = tag?.unit ?? "";
    const stale = i < 0 || (!curve.holds && at - curve.at[i] - curve.step > (tag?.stale_after ?? 60) * 1e9);
    value.replaceChildren();
    if (stale || within(curve.gaps)) value.append(flag(texts.gap));
    else if ((curve.step ? curve.min : curve.value)[i] === null) value.append(flag(texts.bad));
    else if (!curve.step) value.append(tag?.states?.[curve.value[i]] ? word(tag.states[curve.value[i]], "word") : number(curve.value[i]), of);
    else if (curve.min[i] === curve.max[i]) value.append(number(curve.min[i]), of);
    else value.append(word(`${number(curve.min[i])} –`, "least"), " ", word(number(curve.max[i]), "greatest"), of); // two lines
    const seen = (column) => column.filter((x, k) => x !== null && curve.at[k] >= shown.low * 1e6 - curve.step && curve.at[k] <= shown.high * 1e6);
    const low = seen(curve.step ? curve.min : curve.value), high = seen(curve.step ? curve.max : curve.value);
    least.textContent = number(low.reduce((a, b) => Math.min(a, b), Infinity));
    greatest.textContent = number(high.reduce((a, b) => Math.max(a, b), -Infinity));
  }
  const flag = (text) => word(text, "flag word");
  function word(text, of) {
    const span = document.createElement("span");
    span.className = of; span.textContent = text;
    return span;
  }
  function listed() {
    $("marks").replaceChildren(...shown.marks.map((mark) => {
      const row = document.createElement("tr"), until = mark.open ? texts.goes : mark.until > mark.at ? format.format(mark.until / 1e6) : "–";
      row.className = mark.kind;
      for (const text of [mark.word, format.format(mark.at / 1e6), until, mark.text]) row.insertCell().textContent = text;
      row.cells[0].className = "kind";
      return row;
    }));
    $("unlisted").hidden = !shown.unlisted;
    $("unlisted").textContent = fill(texts.more, { n: shown.unlisted });
  }

  // ---- picker
  function choose(name, on) {
    if (on && state.tags.length >= MOST) { $("found").textContent = texts.most; choices(); return; }
    go({ tags: on ? [...state.tags, name] : state.tags.filter((other) => other !== name) });
    legendSoon();
  }
  const legendSoon = () => { if (!$("picker").open) choices(); };
  function choices() {
    const words = $("search").value.toLowerCase().split(/\s+/).filter(Boolean), all = [...tags.values()];
    const fits = all.filter((tag) => words.every((word) => `${tag.name} ${tag.unit} ${tag.description} ${tag.kind}`.toLowerCase().includes(word)));
    $("choices").replaceChildren(...fits.slice(0, 200).map((tag) => {
      const item = document.createElement("li"), label = document.createElement("label"), box = document.createElement("input"), of = document.createElement("span");
      box.type = "checkbox"; box.checked = state.tags.includes(tag.name); box.value = tag.name;
      box.addEventListener("change", () => choose(tag.name, box.checked));
      of.className = "dim"; of.textContent = tag.unit;
      label.title = tag.description;
      label.append(box, tag.name, of);
      item.append(label);
      return item;
    }));
    $("found").textContent = fill(texts.found, { n: Math.min(fits.length, 200), of: all.length });
  }
  $("search").addEventListener("input", choices);
  $("picker").addEventListener("toggle", () => { if ($("picker").open) choices(); });

  // ---- hands
  const acts = { earlier: () => pan(-0.25), later: () => pan(0.25), in: () => by(0.5), out: () => by(2), reset };
  for (const button of root.querySelectorAll("[data-do]")) button.addEventListener("click", () => acts[button.dataset.do]());
  for (const button of root.querySelectorAll("[data-last]")) {
    button.addEventListener("click", () => { if (state) home = { last: button.dataset.last, from: 0, to: 0 }; go({ last: button.dataset.last }); });
  }
  const step = (share) => {
    const u = panes[0]?.u;
    if (!u) return;
    const width = u.over.clientWidth, left = u.cursor.left >= 0 ? u.cursor.left : width / 2;
    for (const pane of panes) pane.u.setCursor({ left: Math.min(Math.max(left + share * width, 0), width), top: 10 });
  };
  $("charts").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const keys = { "+": () => by(0.5), "=": () => by(0.5), "-": () => by(2), Home: reset };
    keys.ArrowLeft = event.shiftKey ? () => step(-0.01) : () => pan(-0.2);
    keys.ArrowRight = event.shiftKey ? () => step(0.01) : () => pan(0.2);
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  $("panes").addEventListener("wheel", (event) => {
    if (!event.target.closest(".u-over") || !event.deltaY) return;
    event.preventDefault();
    const box = event.target.closest(".u-over").getBoundingClientRect();
    by(event.deltaY < 0 ? 0.8 : 1.25, Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1));
  }, { passive: false });
  document.addEventListener("jayul:tick", (event) => { tick = event.detail; if (state) load(); }); // before that the first loading takes it
  addEventListener("popstate", () => { if (!state) return; state = parse(); buttons(); load(); if ($("picker").open) choices(); });
  let sizing = 0;
  new ResizeObserver(() => { clearTimeout(sizing); sizing = setTimeout(() => { if (shown && panes.key !== layout()) { build(); load(); } }, 150); }).observe($("charts"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (shown) { build(); legend(); } });
  addEventListener("pagehide", () => source?.close());

  window.jayulTrends = { samples: (name) => shown.curves.get(name).at.map((at, i) => [at, shown.curves.get(name).value[i]]), gaps: (name) => shown.curves.get(name).gaps, newest: () => shown.newest };
  (async () => {
    try {
      for (const tag of await asked(`${base}/tags`)) tags.set(tag.name, tag);
    } catch (error) {
      $("trouble").textContent = fill(texts.lost, { why: error.message });
      $("trouble").hidden = false;
      return;
    }
    state = parse();
    home = { last: state.last, from: state.from, to: state.to };
    buttons();
    await load();
  })();
})();

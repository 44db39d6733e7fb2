// Curves and marks as they are drawn: uPlot for the panes, one canvas for what happened. No state of the page is kept here.
"use strict";
const TrendsDraw = (() => {
  const GUTTER = 66; // px left of every plot, for the axis
  const RIGHT = 24;
  // Okabe and Ito's hues, which people with any colour vision tell apart; darkened (lightened) to 3:1 on the sheet.
  const LIGHT = ["#0072b2", "#b34700", "#00795a", "#9c4f80", "#1d2227", "#7d6200"];
  const DARK = ["#56b4e9", "#e69f00", "#2fbf94", "#e6a6c8", "#f2f2f2", "#f0e442"];
  const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3], [14, 5], [5, 2, 5, 6]];
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark"
    || (css("color-scheme") === "dark");
  const colour = (i) => (dark() ? DARK : LIGHT)[i % 6];

  // A curve of the server as x and y for uPlot: null where the line must break.
  function line(curve, newest) {
    const xs = [], ys = [], columns = curve.step > 0, at = curve.at;
    const gaps = curve.gaps;
    let g = 0, before = null;
    const put = (x, y) => { xs.push(x); ys.push(y); };
    for (let i = 0; i < at.length; i++) {
      const x = at[i] / 1e6;
      while (g < gaps.length && gaps[g][1] <= at[i]) {
        if (xs.length && gaps[g][1] / 1e6 > xs[xs.length - 1]) {
          const last = ys[ys.length - 1];
          const from = Math.max(gaps[g][0] / 1e6, xs[xs.length - 1] + 1e-3);
          if (curve.holds && last !== null && from > xs[xs.length - 1] + 1e-3) put(from, last);
          put(xs[xs.length - 1] + 1e-3, null);
        }
        g++;
      }
      if (!columns) { put(x, curve.value[i]); continue; }
      const low = curve.min[i], high = curve.max[i], width = curve.step / 1e6;
      if (low === null) { put(x + width / 2, null); before = null; continue; }
      const up = before === null || Math.abs(before - low) <= Math.abs(before - high);
      put(x + width / 4, up ? low : high);
      put(x + 3 * width / 4, up ? high : low);
      before = up ? high : low;
    }
    const end = ys.length - 1;
    if (curve.holds && end >= 0 && ys[end] !== null && newest / 1e6 > xs[end]) put(newest / 1e6, ys[end]);
    return [xs, ys];
  }

  // Points that stand alone between breaks are drawn as points, else they would not be seen.
  function alone(u, s) {
    const y = u.data[s], found = [];
    let previous = null, seen = -1, last = null;
    for (let i = 0; i < y.length; i++) {
      if (y[i] === undefined) continue;
      if (y[i] === null) { if (seen >= 0 && previous === null) found.push(seen); seen = -1; previous = null; continue; }
      if (seen >= 0) { previous = seen; }
      seen = i; last = i;
    }
    if (seen >= 0 && previous === null && last === seen) found.push(seen);
    return found;
  }

  function ticks(zone, lang) {
    const make = (options) => new Intl.DateTimeFormat(lang, { timeZone: zone, hourCycle: "h23", ...options });
    const clock = make({ hour: "2-digit", minute: "2-digit" }), exact = make({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const day = { format: (x) => new Intl.DateTimeFormat("sv", { timeZone: zone }).format(x).slice(5) }; // 01-31, as on the other pages
    return (u, splits, axis, space, step) => {
      let shown = "";
      return splits.map((x) => {
        const today = day.format(x);
        if (step >= 86_400_000) return today;
        const text = (step < 60_000 ? exact : clock).format(x);
        if (today === shown) return text;
        shown = today;
        return `${text}\n${today}`;
      });
    };
  }

  function hatch(ctx, x, y, w, h, ratio) {
    ctx.save();
    ctx.beginPath(); ctx.rect(x, y, w, h); ctx.clip();
    ctx.fillStyle = css("--warn-ground"); ctx.fillRect(x, y, w, h);
    ctx.strokeStyle = css("--warn"); ctx.lineWidth = 1.2 * ratio;
    ctx.beginPath();
    for (let i = x - h; i < x + w + h; i += 6 * ratio) { ctx.moveTo(i, y + h); ctx.lineTo(i + h, y); }
    ctx.stroke();
    ctx.restore();
  }

  // Below the curves of a pane: for each tag that has some, where its samples are bad and where there are none.
  function lanes(u, curves) {
    const ratio = devicePixelRatio, { left, top, width, height } = u.bbox, ctx = u.ctx;
    const rows = curves.filter((c) => c.bad.length || c.gaps.length), tall = 7 * ratio;
    rows.forEach((curve, row) => {
      const y = top + height - (rows.length - row) * (tall + 2 * ratio);
      const cut = (span) => {
        const a = Math.max(u.valToPos(span[0] / 1e6, "x", true), left);
        const b = Math.min(Math.max(u.valToPos(span[1] / 1e6, "x", true), a + 4 * ratio), left + width);
        return [a, b - a];
      };
      for (const span of curve.gaps) {
        const [x, w] = cut(span);
        if (w <= 0) continue;
        ctx.strokeStyle = css("--fill"); ctx.lineWidth = ratio; ctx.setLineDash([3 * ratio, 2 * ratio]);
        ctx.strokeRect(x + ratio / 2, y + ratio / 2, Math.max(w - ratio, ratio), tall - ratio); ctx.setLineDash([]);
      }
      for (const span of curve.bad) { const [x, w] = cut(span); if (w > 0) hatch(ctx, x, y, w, tall, ratio); }
    });
  }

  function limits(u, series, texts) {
    const ratio = devicePixelRatio, { left, top, width, height } = u.bbox, ctx = u.ctx;
    for (const { tag, colour: stroke } of series) {
      for (const value of [tag.low, tag.high]) {
        if (value === null || value === undefined || value < u.scales.y.min || value > u.scales.y.max) continue;
        const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
        if (y < top || y > top + height) continue;
        ctx.strokeStyle = stroke; ctx.lineWidth = ratio; ctx.setLineDash([ratio, 4 * ratio]);
        ctx.beginPath(); ctx.moveTo(left, y); ctx.lineTo(left + width, y); ctx.stroke(); ctx.setLineDash([]);
        ctx.fillStyle = css("--dim"); ctx.font = `${11 * ratio}px system-ui, sans-serif`; ctx.textAlign = "right";
        ctx.fillText(`${texts.limit} ${value}`, left + width - 4 * ratio, y - 3 * ratio);
      }
    }
  }

  // Behind the curves: blocks in which the policy is on (not: only planned), alarms; lines where a level changed.
  function behind(u, marks) {
    const ratio = devicePixelRatio, { left, top, width, height } = u.bbox, ctx = u.ctx;
    ctx.save();
    ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
    for (const mark of marks) {
      const a = u.valToPos(mark.at / 1e6, "x", true), b = u.valToPos(mark.until / 1e6, "x", true);
      if (mark.kind === "block" && mark.what === "on") {
        ctx.globalAlpha = 0.45; ctx.fillStyle = css("--line"); ctx.fillRect(a, top, b - a, height); ctx.globalAlpha = 1;
      } else if (mark.kind === "alarm") {
        ctx.globalAlpha = 0.55; ctx.fillStyle = css("--warn-ground"); ctx.fillRect(a, top, Math.max(b - a, 2 * ratio), height); ctx.globalAlpha = 1;
      } else if (mark.kind === "level") {
        ctx.strokeStyle = css("--mark"); ctx.lineWidth = ratio; ctx.setLineDash([6 * ratio, 4 * ratio]);
        ctx.beginPath(); ctx.moveTo(a, top); ctx.lineTo(a, top + height); ctx.stroke(); ctx.setLineDash([]);
      }
    }
    ctx.restore();
  }

  // One pane: the tags of one unit on one scale. `model` is asked at every drawing, so that a live run needs no new pane.
  function pane(host, model, options) {
    const { series, texts, zone, lang, last, height, width } = options;
    const lanesOf = () => series.map((s) => model.curve(s.tag.name)).filter(Boolean);
    const reserve = () => lanesOf().filter((c) => c.bad.length || c.gaps.length).length * 9 + 4;
    const range = (u, low, high) => {
      if (low === null || low === undefined || !Number.isFinite(low)) return [0, 1];
      const span = high - low || Math.abs(high) * 0.1 || 1;
      const room = Math.max(height - (last ? 44 : 12), 40);
      return [low - span * (0.06 + reserve() / room), high + span * 0.1];
    };
    const axis = { stroke: () => css("--dim"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { stroke: () => css("--line"), width: 1, size: 4 }, font: "12px system-ui, sans-serif" };
    const u = new uPlot({
      width, height, ms: 1, padding: [8, RIGHT, last ? 0 : 4, 0], legend: { show: false }, pxAlign: 0,
      tzDate: (x) => uPlot.tzDate(new Date(x), zone),
      cursor: {
        drag: { x: true, y: false, setScale: false, dist: 5 }, sync: { key: "jayul-trends", setSeries: false }, y: false,
        bind: { dblclick: () => () => { options.reset(); return null; } }, points: { size: 6 },
      },
      scales: { x: { time: true, range: () => model.range() }, y: { range } },
      axes: [
        { ...axis, size: last ? 40 : 0, space: 70, values: last ? ticks(zone, lang) : (v, splits) => splits.map(() => "") },
        { ...axis, size: GUTTER, space: 28 },
      ],
      series: [{}, ...series.map((s, i) => ({
        label: s.tag.name, stroke: s.colour, width: 1.6, dash: DASHES[i % 6].length ? DASHES[i % 6] : undefined, spanGaps: false,
        paths: s.tag.holds ? uPlot.paths.stepped({ align: 1 }) : uPlot.paths.linear(),
        points: { show: true, size: 5, filter: alone, fill: s.colour, stroke: s.colour },
      }))],
      hooks: {
        drawClear: [(v) => behind(v, model.marks())],
        draw: [(v) => { limits(v, series, texts); lanes(v, lanesOf()); }],
        setSelect: [(v) => {
          if (v.select.width < 4) return;
          const a = v.posToVal(v.select.left, "x"), b = v.posToVal(v.select.left + v.select.width, "x");
          v.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          options.zoomed(a, b);
        }],
        setCursor: [(v) => options.cursor(v)],
      },
    }, data(), host);
    function data() {
      const tables = series.map((s) => { const c = model.curve(s.tag.name); return c ? line(c, model.newest()) : [[], []]; });
      return tables.length === 1 ? tables[0] : uPlot.join(tables);
    }
    return { u, series, refresh: () => u.setData(data()) };
  }

  function stripes(ctx, x, y, w, h) {
    ctx.save();
    ctx.beginPath(); ctx.rect(x, y, w, h); ctx.clip();
    ctx.strokeStyle = css("--fill"); ctx.lineWidth = 1; ctx.beginPath();
    for (let i = x - h; i < x + w; i += 8) { ctx.moveTo(i, y + h); ctx.lineTo(i + h, y); }
    ctx.stroke(); ctx.restore();
  }

  // The strip above the panes: a row for each kind of mark, labels where there is room.
  function strip(canvas, marks, range, width, names, others) {
    const kinds = ["block", "level", "alarm", "move", "person"].filter((kind) => marks.some((m) => m.kind === kind));
    canvas.hidden = !kinds.length;
    if (!kinds.length) return;
    const ratio = devicePixelRatio, tall = 22;
    canvas.width = width * ratio; canvas.height = kinds.length * tall * ratio;
    const ctx = canvas.getContext("2d"), plot = width - GUTTER - RIGHT;
    ctx.scale(ratio, ratio); ctx.font = "12px system-ui, 'Noto Sans KR', sans-serif"; ctx.textBaseline = "middle";
    const place = (ns) => GUTTER + (ns / 1e6 - range[0]) / (range[1] - range[0]) * plot;
    const together = (a, b) => a.kind === "move" && b.kind === "move" && a.at === b.at && a.who === b.who; // one move of several tags
    kinds.forEach((kind, row) => {
      const y = row * tall + tall / 2, mine = marks.filter((m) => m.kind === kind);
      ctx.fillStyle = css("--dim"); ctx.textAlign = "right"; ctx.fillText(names[kind], GUTTER - 8, y, GUTTER - 10);
      ctx.strokeStyle = css("--line"); ctx.beginPath(); ctx.moveTo(GUTTER, y + tall / 2 - 0.5); ctx.lineTo(width - RIGHT, y + tall / 2 - 0.5); ctx.stroke();
      ctx.save(); ctx.beginPath(); ctx.rect(GUTTER, row * tall, plot, tall); ctx.clip(); ctx.textAlign = "left";
      mine.forEach((mark, i) => {
        const a = Math.max(place(mark.at), GUTTER), end = Math.max(...mine.filter((m) => m === mark || together(m, mark)).map((m) => m.until));
        const b = Math.min(Math.max(place(end), a + 2), width - RIGHT);
        if (i && together(mine[i - 1], mark)) return; // has its label
        const more = mine.filter((m) => m !== mark && together(m, mark)).length, following = mine.slice(i + 1 + more)[0];
        const next = following ? place(following.at) : width - RIGHT;
        let text = a + 12, room = next - a - 16;
        if (kind === "block") {
          ctx.fillStyle = css(mark.what === "on" ? "--dim" : "--ground"); ctx.fillRect(a, y - 7, b - a - 1, 14);
          if (mark.what === "planned") stripes(ctx, a, y - 7, b - a - 1, 14);
          ctx.strokeStyle = css("--fill"); ctx.strokeRect(a + 0.5, y - 7.5, b - a - 1, 14);
          ctx.fillStyle = mark.what === "on" ? css("--sheet") : css("--ink"); text = a + 5; room = b - a - 8;
        } else if (kind === "alarm") {
          ctx.fillStyle = css("--warn"); ctx.fillRect(a, y - 6, Math.max(b - a, 3), 12);
          ctx.beginPath(); ctx.moveTo(a - 5, y + 6); ctx.lineTo(a, y - 7); ctx.lineTo(a + 5, y + 6); ctx.fill();
          text = Math.max(a + 8, b + 4); room = next - text - 4;
        } else if (kind === "move") {
          ctx.fillStyle = css("--mark"); ctx.fillRect(a, y - 2, Math.max(b - a, 2), 4);
          ctx.beginPath(); ctx.moveTo(b + 5, y); ctx.lineTo(b - 2, y - 5); ctx.lineTo(b - 2, y + 5); ctx.fill(); text = b + 8; room = next - b - 12;
        } else if (kind === "level") {
          ctx.fillStyle = css("--mark"); ctx.beginPath(); ctx.moveTo(a, y - 6); ctx.lineTo(a + 6, y); ctx.lineTo(a, y + 6); ctx.lineTo(a - 6, y); ctx.fill();
        } else {
          ctx.fillStyle = css("--mark"); ctx.beginPath(); ctx.arc(a, y, 4, 0, 7); ctx.fill();
        }
        if (kind !== "block") ctx.fillStyle = css("--ink");
        const words = more ? others(mark.short, more) : mark.short;
        const label = words && ctx.measureText(words).width <= room ? words : "";
        if (label && kind === "block" && mark.what === "planned") {
          ctx.fillStyle = css("--ground"); ctx.fillRect(text - 2, y - 6, ctx.measureText(label).width + 4, 12); ctx.fillStyle = css("--ink");
        }
        if (label) ctx.fillText(label, text, y + 1);
      });
      ctx.restore();
    });
  }
  return { GUTTER, RIGHT, DASHES, colour, pane, strip };
})();
